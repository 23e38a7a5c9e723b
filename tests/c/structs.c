/* Structs of callers that were compiled against another version of the header. */
#include "kit.h"

int main(void) {
  struct { gpubuf_device_options options; uint64_t later; } newer;
  gpubuf_device *device = NULL, *untouched = NULL;
  memset(&newer, 0xff, sizeof newer);
  gpubuf_device_options_init(&newer.options, sizeof newer);
  CHECK(newer.options.struct_size == sizeof newer && newer.later == 0 && newer.options.default_timeout_ns == 10000000000);
  OK(gpubuf_device_open(&newer.options, &device));
  newer.later = 1;
  EXPECT(GPUBUF_VERSION_MISMATCH, gpubuf_device_open(&newer.options, &untouched));
  newer.later = 0;
  newer.options.struct_size = sizeof newer.options - 8;
  EXPECT(GPUBUF_VERSION_MISMATCH, gpubuf_device_open(&newer.options, &untouched));
  newer.options.struct_size = 0;
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  newer.options.struct_size = UINT32_MAX;
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  gpubuf_device_options_init(&newer.options, sizeof newer.options);
  newer.options.reserved = 1;
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  CHECK(kit_message_has("options.reserved"));
  newer.options.reserved = 0;
  newer.options.debug = 4;
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  CHECK(kit_message_has("debug 4"));
  newer.options.debug = 0;
  newer.options.probe = 2;
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  CHECK(kit_message_has("options.probe"));
  newer.options.probe = 0;
  newer.options.upkeep_interval_ns = 999999;
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  CHECK(kit_message_has("upkeep_interval_ns"));
  newer.options.upkeep_interval_ns = 0;
  newer.options.name = "tpu:0";
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  CHECK(kit_message_has("tpu:0"));
  newer.options.name = "\xff";
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  CHECK(kit_message_has("options.name"));
  newer.options.name = NULL;
  newer.options.backend = 3;
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  newer.options.backend = GPUBUF_BACKEND_AUTO;
  newer.options.label = "\xff\xfe";
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&newer.options, &untouched));
  CHECK(kit_message_has("options.label"));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_set_label(device, "\x80"));
  CHECK(untouched == NULL);

  gpubuf_device_stats stats;
  memset(&stats, 0x55, sizeof stats);
  stats.struct_size = 16;
  OK(gpubuf_device_stats_get(device, &stats));
  CHECK(stats.struct_size == 16 && stats.reserved == 0 && stats.host_bytes == 0 && stats.pinned_bytes == 0x5555555555555555);
  stats.struct_size = 7;
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_device_stats_get(device, &stats));
  struct { gpubuf_device_stats stats; uint64_t later; } bigger;
  bigger.stats.struct_size = sizeof bigger;
  bigger.later = 77;
  OK(gpubuf_device_stats_get(device, &bigger.stats));
  CHECK(bigger.stats.struct_size == sizeof bigger.stats && bigger.later == 77);
  OK(gpubuf_device_stats_get(device, &bigger.stats));

  /* Numbers out of range are refused, whatever they are. */
  gpubuf_buffer_options buffer;
  gpubuf_buffer *none = NULL;
  for (int round = 0; round < 7; ++round) {
    gpubuf_buffer_options_init(&buffer, sizeof buffer);
    buffer.dtype = GPUBUF_DTYPE_F16;
    buffer.rank = 2;
    buffer.shape[0] = buffer.shape[1] = 3;
    switch (round) {
      case 0: buffer.dtype = 0; break;
      case 1: buffer.dtype = UINT32_MAX; break;
      case 2: buffer.rank = 0; break;
      case 3: buffer.rank = 9; break;
      case 4: buffer.host_placement = 6; break;
      case 5: buffer.device_placement = UINT32_MAX; break;
      case 6: buffer.shape[1] = 0; break;
    }
    EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_create(device, &buffer, &none));
  }
  gpubuf_buffer_options_init(&buffer, sizeof buffer);
  buffer.dtype = GPUBUF_DTYPE_F64;
  buffer.rank = 2;
  buffer.shape[0] = buffer.shape[1] = UINT64_MAX;
  EXPECT(GPUBUF_OVERFLOW, gpubuf_buffer_create(device, &buffer, &none));
  CHECK(none == NULL);
  gpubuf_buffer *good = kit_buffer(device, 4);
  gpubuf_stream *stream;
  OK(gpubuf_stream_create(device, &stream));
  void *data = NULL;
  uint64_t token = 5;
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_begin_write(good, UINT64_MAX, 2, GPUBUF_TIMEOUT_TRY, &data, &token));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_begin_write(good, 3, UINT64_MAX, GPUBUF_TIMEOUT_TRY, &data, &token));
  CHECK(data == NULL && token == 5);
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_used_on(good, stream, 0));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_zero(good, 4, stream, GPUBUF_TIMEOUT_TRY));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_host_fail_operation(device, 12, 1, GPUBUF_HOST_AT_SUBMISSION));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_host_fail_operation(device, GPUBUF_HOST_ANY, 1, 3));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_host_limit_memory(device, GPUBUF_PLACEMENT_UVA, 1));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_host_set_pageable_late(device, 2));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_host_set_uva_stale(device, 2));
  EXPECT(GPUBUF_NOT_BEGUN, gpubuf_buffer_end_write(good, 12345));
  return 0;
}
