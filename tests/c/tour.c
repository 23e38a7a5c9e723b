/* Every noun once, as an application would use it. */
#include "kit.h"

static void double_it(gpubuf_host_view *view, void *user_data) {
  uint64_t address = *(uint64_t *)user_data;
  int32_t values[8];
  if (gpubuf_host_view_read(view, address, values, sizeof values)) return;
  for (int i = 0; i < 8; ++i) values[i] *= 2;
  if (gpubuf_host_view_write(view, address, values, sizeof values)) return;
}

static void buffers(gpubuf_device *device, gpubuf_stream *stream, gpubuf_event *event) {
  gpubuf_buffer *buffer = kit_buffer(device, 8);
  OK(gpubuf_set_label(buffer, "numbers"));
  gpubuf_buffer_info info;
  info.struct_size = sizeof info;
  OK(gpubuf_buffer_info_get(buffer, &info));
  CHECK(info.dtype == GPUBUF_DTYPE_I32 && info.rank == 1 && info.count == 8 && info.host_bytes == 32 && info.device_bytes == 32);
  CHECK(info.host_placement == GPUBUF_PLACEMENT_PINNED && info.device_placement == GPUBUF_PLACEMENT_DEVICE && !info.borrowed);

  void *data;
  uint64_t token;
  OK(gpubuf_buffer_begin_write(buffer, 0, GPUBUF_ALL, GPUBUF_TIMEOUT_DEFAULT, &data, &token));
  for (int i = 0; i < 8; ++i) ((int32_t *)data)[i] = i;
  EXPECT(GPUBUF_BUSY, gpubuf_buffer_to_device(buffer, 0, GPUBUF_ALL, stream));
  CHECK(kit_message_has("gpubuf_buffer_to_device: ") && kit_message_has("numbers"));
  OK(gpubuf_buffer_end_write(buffer, token));
  EXPECT(GPUBUF_NOT_BEGUN, gpubuf_buffer_end_write(buffer, token));
  uint64_t address;
  OK(gpubuf_buffer_device_address(buffer, &stream, 1, &address));
  OK(gpubuf_buffer_to_device(buffer, 0, GPUBUF_ALL, stream));
  OK(gpubuf_host_stream_call(stream, double_it, &address));
  OK(gpubuf_buffer_used_on(buffer, stream, GPUBUF_ACCESS_WRITE));
  OK(gpubuf_event_record(event, stream));
  OK(gpubuf_buffer_to_host(buffer, 0, GPUBUF_ALL, stream));
  const void *read;
  OK(gpubuf_buffer_begin_read(buffer, 0, GPUBUF_ALL, GPUBUF_TIMEOUT_DEFAULT, &read, &token));
  for (int i = 0; i < 8; ++i) CHECK(((const int32_t *)read)[i] == 2 * i);
  OK(gpubuf_buffer_end_read(buffer, token));
  OK(gpubuf_event_query(event));
  int32_t minus_one = -1, out[8];
  OK(gpubuf_buffer_fill(buffer, GPUBUF_SIDE_BOTH, &minus_one, stream, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_buffer_zero(buffer, GPUBUF_SIDE_HOST, NULL, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_buffer_to_host_blocking(buffer, 0, 4, stream, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_buffer_copy_out(buffer, 0, 8, out, GPUBUF_TIMEOUT_DEFAULT));
  CHECK(out[0] == -1 && out[3] == -1 && out[4] == 0);
  OK(gpubuf_buffer_copy_in(buffer, 0, 0, NULL, GPUBUF_TIMEOUT_TRY));
  char text[400];
  size_t length;
  OK(gpubuf_describe(buffer, text, sizeof text, &length));
  CHECK(length == strlen(text) && strstr(text, "numbers"));
  OK(gpubuf_buffer_destroy(buffer));
}

static void pools(gpubuf_device *device, gpubuf_stream *stream) {
  gpubuf_pool *pool = kit_pool(device, 3);
  gpubuf_block *blocks[3];
  for (int i = 0; i < 3; ++i) {
    OK(gpubuf_pool_acquire(pool, 0, GPUBUF_TIMEOUT_TRY, &blocks[i]));
    OK(gpubuf_block_copy_in(blocks[i], 0, 5, "hello", GPUBUF_TIMEOUT_TRY));
    OK(gpubuf_block_to_device(blocks[i], 0, GPUBUF_ALL, stream));
  }
  gpubuf_block *none = NULL;
  EXPECT(GPUBUF_BUSY, gpubuf_pool_acquire(pool, 0, GPUBUF_TIMEOUT_TRY, &none));
  CHECK(none == NULL);
  uint64_t address;
  OK(gpubuf_block_device_address(blocks[0], &address));
  EXPECT(GPUBUF_UNFENCED, gpubuf_block_release(blocks[0]));
  /* A stream named twice is one. */
  gpubuf_stream *twice[9] = {stream, stream, stream, stream, stream, stream, stream, stream, stream};
  gpubuf_device_stats before, after;
  before.struct_size = after.struct_size = sizeof after;
  OK(gpubuf_device_stats_get(device, &before));
  OK(gpubuf_block_fence(blocks[0], twice, 8));
  OK(gpubuf_device_stats_get(device, &after));
  CHECK(after.fences_recorded == before.fences_recorded + 1);
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_block_release_after(blocks[0], twice, 9));
  CHECK(kit_message_has("stream_count is 9"));
  OK(gpubuf_block_release_after(blocks[0], twice, 2));
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_block_release(blocks[0]));
  gpubuf_block *bad[2] = {blocks[1], blocks[0]};
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_block_release_after_many(bad, 2, &stream, 1));
  OK(gpubuf_block_release_after_many(blocks + 1, 2, &stream, 1));
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_block_fence(blocks[2], &stream, 1));
  OK(gpubuf_pool_acquire(pool, 0, GPUBUF_TIMEOUT_DEFAULT, &none));
  gpubuf_block_info info;
  info.struct_size = sizeof info;
  OK(gpubuf_block_info_get(none, &info));
  CHECK(info.bytes == 256 && info.index < 3 && info.device_side == 1 && info.placement == GPUBUF_PLACEMENT_PINNED);
  gpubuf_pool_stats stats;
  stats.struct_size = sizeof stats;
  OK(gpubuf_pool_stats_get(pool, &stats));
  CHECK(stats.acquires == 4 && stats.releases == 3 && stats.held_blocks == 1 && stats.block_count == 3);
  OK(gpubuf_pool_destroy(pool));
  OK(gpubuf_block_release(none)); /* A block outlives its pool. */
}

static void slots(gpubuf_device *device, gpubuf_stream *stream) {
  gpubuf_slots *slots = kit_slots(device);
  uint32_t ids;
  OK(gpubuf_slots_find(slots, "ids", &ids));
  EXPECT(GPUBUF_NOT_FOUND, gpubuf_slots_find(slots, "nothing", &ids));
  gpubuf_stream *consumer;
  OK(gpubuf_stream_create(device, &consumer));
  int32_t rows[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int round = 0; round < 5; ++round) {
    gpubuf_step *step;
    uint64_t ticket, read_back, bytes, token;
    void *span;
    const void *data;
    OK(gpubuf_slots_begin(slots, GPUBUF_TIMEOUT_DEFAULT, &step));
    EXPECT(GPUBUF_SLOT_UNWRITTEN, gpubuf_step_commit(step, stream, NULL, 0, &ticket));
    OK(gpubuf_step_write(step, ids, 0, 4, rows));
    OK(gpubuf_step_begin_span(step, ids, 4, 2, &span, &token));
    memcpy(span, rows + 4, 8);
    OK(gpubuf_step_end_span(step, token));
    OK(gpubuf_step_pad(step, ids, 8));
    OK(gpubuf_step_commit(step, stream, &consumer, 1, &ticket));
    EXPECT(GPUBUF_NOT_BEGUN, gpubuf_step_write(step, ids, 0, 1, rows));
    EXPECT(GPUBUF_NOT_BEGUN, gpubuf_step_abort(step));
    OK(gpubuf_slots_read_back(slots, ticket, ids, 0, GPUBUF_ALL, consumer, &read_back));
    if (round % 2) {
      OK(gpubuf_slots_retire(slots, ticket, &consumer, 1));
      EXPECT(GPUBUF_STALE_HANDLE, gpubuf_step_retire(step, NULL, 0));
      OK(gpubuf_step_destroy(step)); /* It is over already. */
    } else {
      OK(gpubuf_step_destroy(step)); /* Retires it. */
    }
    EXPECT(GPUBUF_NOT_BEGUN, gpubuf_slots_retire(slots, ticket, NULL, 0));
    OK(gpubuf_slots_begin_read(slots, read_back, GPUBUF_TIMEOUT_DEFAULT, &data, &bytes));
    CHECK(bytes == 32 && ((const int32_t *)data)[5] == 6 && ((const int32_t *)data)[7] == 0);
    OK(gpubuf_slots_end_read(slots, read_back));
  }
  gpubuf_step *step;
  OK(gpubuf_slots_begin(slots, GPUBUF_TIMEOUT_DEFAULT, &step));
  OK(gpubuf_step_abort(step));
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_step_abort(step));
  OK(gpubuf_slots_begin(slots, GPUBUF_TIMEOUT_DEFAULT, &step));
  OK(gpubuf_step_destroy(step));
  OK(gpubuf_slots_begin(slots, GPUBUF_TIMEOUT_DEFAULT, &step));
  gpubuf_slots_stats stats;
  stats.struct_size = sizeof stats;
  OK(gpubuf_slots_stats_get(slots, &stats));
  CHECK(stats.steps_committed == 5 && stats.steps_retired == 5 && stats.steps_aborted == 2 && stats.depth == 2);
  OK(gpubuf_slots_destroy(slots));
  EXPECT(GPUBUF_SHUT_DOWN, gpubuf_step_write(step, ids, 0, 1, rows));
  OK(gpubuf_step_destroy(step)); /* A step outlives its slots. */
  gpubuf_decode_options decode;
  gpubuf_decode_options_init(&decode, sizeof decode);
  CHECK(decode.max_batch == 256 && decode.max_tokens == 8192 && decode.max_seq_len == 32768 && decode.block_size == 16);
  OK(gpubuf_slots_create_decode(device, &decode, &slots));
  OK(gpubuf_slots_freeze(slots));
  gpubuf_slot_info info;
  info.struct_size = sizeof info;
  OK(gpubuf_slots_find(slots, "block_table", &ids));
  OK(gpubuf_slots_slot_info(slots, ids, &info));
  CHECK(info.rows == 256 && info.row_bytes == 8192 && info.own_copy == 1 && info.kind == GPUBUF_SLOT_KEPT);
  OK(gpubuf_slots_destroy(slots));
  OK(gpubuf_stream_destroy(consumer));
}

static void refusals(gpubuf_device *device, gpubuf_stream *stream) {
  gpubuf_workspace *workspace;
  gpubuf_buffer *none;
  gpubuf_spec spec;
  gpubuf_spec_init(&spec, sizeof spec);
  spec.dtype = GPUBUF_DTYPE_I32;
  spec.rank = 1;
  spec.shape[0] = 4;
  OK(gpubuf_workspace_create(device, NULL, &workspace));
  EXPECT(GPUBUF_WRONG_DEVICE, gpubuf_workspace_allocate(workspace, &spec, 0, stream, GPUBUF_TIMEOUT_TRY, &none));
  OK(gpubuf_workspace_destroy(workspace));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_stream_wait_native_event(stream, NULL));
  EXPECT(GPUBUF_NOT_BEGUN, gpubuf_host_capture_call(stream, double_it, NULL));
  OK(gpubuf_host_capture_begin(stream));
  EXPECT(GPUBUF_CAPTURING, gpubuf_host_stream_call(stream, double_it, NULL));
  uint64_t graph;
  OK(gpubuf_host_capture_end(stream, &graph));
}

int main(void) {
  CHECK(gpubuf_version_number() == GPUBUF_VERSION_NUMBER);
  char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", GPUBUF_VERSION_MAJOR, GPUBUF_VERSION_MINOR, GPUBUF_VERSION_PATCH);
  CHECK(strcmp(version, gpubuf_version_string()) == 0);
  CHECK(strcmp(gpubuf_status_name(GPUBUF_BUSY), "GPUBUF_BUSY") == 0);
  CHECK(strcmp(gpubuf_status_name(1), "GPUBUF_UNKNOWN_STATUS") == 0);
  CHECK(gpubuf_dtype_size(GPUBUF_DTYPE_F64) == 8 && gpubuf_dtype_size(99) == 0);
  CHECK(gpubuf_last_error_message(NULL, 0) == 0);

  uint32_t count;
  OK(gpubuf_device_count(GPUBUF_BACKEND_HOST, &count));
  CHECK(count == 1);
  gpubuf_device_options options;
  gpubuf_device_options_init(&options, sizeof options);
  options.backend = GPUBUF_BACKEND_HOST;
  options.label = "tour";
  gpubuf_device *device;
  OK(gpubuf_device_open(&options, &device));
  uint32_t backend;
  OK(gpubuf_device_backend(device, &backend));
  CHECK(backend == GPUBUF_BACKEND_HOST);
  char reason[4];
  size_t length;
  OK(gpubuf_device_backend_reason(device, reason, sizeof reason, &length));
  CHECK(length > 3 && strcmp(reason, "hos") == 0);
  gpubuf_stream *stream, *other;
  gpubuf_event *event;
  OK(gpubuf_stream_create(device, &stream));
  OK(gpubuf_stream_create(device, &other));
  OK(gpubuf_event_create(device, &event));
  OK(gpubuf_event_query(event));
  OK(gpubuf_host_stream_hold(stream));
  OK(gpubuf_host_stream_delay(stream, 1000));
  OK(gpubuf_event_record(event, stream));
  EXPECT(GPUBUF_BUSY, gpubuf_event_query(event));
  EXPECT(GPUBUF_WOULD_DEADLOCK, gpubuf_event_wait(event, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_stream_wait_event(other, event));
  EXPECT(GPUBUF_BUSY, gpubuf_stream_query(other));
  OK(gpubuf_host_stream_release(stream));
  OK(gpubuf_stream_synchronize(other, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_event_wait(event, GPUBUF_TIMEOUT_DEFAULT));
  EXPECT(GPUBUF_UNSUPPORTED, gpubuf_stream_wrap_native(device, NULL, &other));

  buffers(device, stream, event);
  pools(device, stream);
  slots(device, stream);
  gpubuf_device *elsewhere;
  OK(gpubuf_device_open(&options, &elsewhere));
  refusals(elsewhere, stream);
  OK(gpubuf_device_destroy(elsewhere));

  OK(gpubuf_device_synchronize(device, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_device_drain(device, GPUBUF_TIMEOUT_DEFAULT));
  uint64_t freed;
  OK(gpubuf_device_maintain(device, &freed));
  gpubuf_device_stats stats;
  stats.struct_size = sizeof stats;
  OK(gpubuf_device_stats_get(device, &stats));
  CHECK(stats.copies > 0 && stats.fences_recorded > 0 && stats.events_on_demand == 0 && stats.stale_handles > 0);
  CHECK(stats.pinned_bytes == 0 && stats.device_bytes == 0 && stats.deferred_bytes == 0 && stats.leaked_bytes == 0);
  OK(gpubuf_event_destroy(event));
  OK(gpubuf_stream_destroy(stream));
  OK(gpubuf_stream_destroy(other));
  OK(gpubuf_device_destroy(device));
  OK(gpubuf_device_destroy(NULL));
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_device_destroy(device));
  return 0;
}
