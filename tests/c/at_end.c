/* A program that is asked for reports by its environment: one device ends, the other is left to the exit or to a shutdown. */
#include "kit.h"

static gpubuf_device *device(const char *label) {
  gpubuf_device *device = NULL;
  gpubuf_device_options options;
  gpubuf_device_options_init(&options, sizeof options);
  options.label = label;
  OK(gpubuf_device_open(&options, &device));
  return device;
}

int main(void) {
  gpubuf_device *first = device("first");
  gpubuf_stream *stream = NULL;
  OK(gpubuf_stream_create(first, &stream));
  gpubuf_buffer *buffer = kit_buffer(first, 4);
  OK(gpubuf_buffer_to_device_blocking(buffer, 0, GPUBUF_ALL, stream, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_buffer_destroy(buffer));
  OK(gpubuf_stream_destroy(stream));
  OK(gpubuf_device_destroy(first));
  OK(gpubuf_set_label(kit_buffer(device("second"), 4), "kept"));
  if (strncmp(getenv("GPUBUF_AT_END"), "shutdown", 8) == 0) OK(gpubuf_shutdown(GPUBUF_TIMEOUT_DEFAULT));
  return 0;
}
