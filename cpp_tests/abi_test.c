/* A plain C program: the library sees the sizes that its header says. What the header itself says is kept in tests/abi. */
#include <gpubuf/gpubuf.h>

#include <stdio.h>
#include <string.h>

static int failed;

static void expect(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "FAILED: %s\n", what);
    failed = 1;
  }
}

/* The library must see the same sizes: it refuses one byte less than a struct had at first, and fills in its defaults for exactly
   what it has now. */
#define INIT_FROM(type, first, init)                                            \
  do {                                                                          \
    type options, before;                                                       \
    memset(&options, 0x5a, sizeof options);                                     \
    memcpy(&before, &options, sizeof options);                                  \
    init(&options, (uint32_t)(first) - 1);                                      \
    expect(memcmp(&before, &options, sizeof options) == 0, #init " too small"); \
    init(&options, (uint32_t)sizeof options);                                   \
    expect(options.struct_size == sizeof options, #init);                       \
  } while (0)
#define INIT(type, init) INIT_FROM(type, sizeof(type), init)

int main(void) {
  gpubuf_device *device = NULL;
  expect(gpubuf_version_number() == GPUBUF_VERSION_NUMBER, "version");
  INIT(gpubuf_device_options, gpubuf_device_options_init);
  INIT(gpubuf_pinned_options, gpubuf_pinned_options_init);
  INIT(gpubuf_pinned_request, gpubuf_pinned_request_init);
  INIT(gpubuf_buffer_options, gpubuf_buffer_options_init);
  INIT(gpubuf_pool_options, gpubuf_pool_options_init);
  INIT(gpubuf_slots_options, gpubuf_slots_options_init);
  INIT(gpubuf_slot_options, gpubuf_slot_options_init);
  INIT_FROM(gpubuf_decode_options, 88, gpubuf_decode_options_init);
  INIT(gpubuf_spec, gpubuf_spec_init);
  INIT(gpubuf_workspace_options, gpubuf_workspace_options_init);
  INIT(gpubuf_tensor_options, gpubuf_tensor_options_init);
  INIT(gpubuf_predictor_options, gpubuf_predictor_options_init);
  INIT(gpubuf_tiers_options, gpubuf_tiers_options_init);
  INIT(gpubuf_pressure_options, gpubuf_pressure_options_init);
  expect(gpubuf_device_open(NULL, &device) == GPUBUF_OK, "gpubuf_device_open");
  expect(gpubuf_device_destroy(device) == GPUBUF_OK, "gpubuf_device_destroy");
  return failed;
}
