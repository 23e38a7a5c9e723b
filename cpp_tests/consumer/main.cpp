// What a user's program does first. Every way to take gpubuf into a project builds and runs this file.

#include <gpubuf/gpubuf.h>
#if __has_include(<gpubuf/gpubuf.hpp>)
#include <gpubuf/gpubuf.hpp>
#endif

#include <cstdint>
#include <cstdio>
#include <cstring>

static bool ok(gpubuf_status status, const char *what) {
  if (status != GPUBUF_OK) {
    char text[512];
    gpubuf_last_error_message(text, sizeof text);
    std::fprintf(stderr, "%s: %s: %s\n", what, gpubuf_status_name(status), text);
  }
  return status == GPUBUF_OK;
}

int main() {
  if (gpubuf_version_number() != GPUBUF_VERSION_NUMBER) {
    std::fprintf(stderr, "header %d, library %u\n", GPUBUF_VERSION_NUMBER, gpubuf_version_number());
    return 1;
  }

  gpubuf_device_options device_options;
  gpubuf_device_options_init(&device_options, sizeof device_options);
  device_options.backend = GPUBUF_BACKEND_HOST;
  gpubuf_device *device = nullptr;
  if (!ok(gpubuf_device_open(&device_options, &device), "device")) return 1;
  gpubuf_stream *stream = nullptr;
  if (!ok(gpubuf_stream_create(device, &stream), "stream")) return 1;

  gpubuf_buffer_options options;
  gpubuf_buffer_options_init(&options, sizeof options);
  options.dtype = GPUBUF_DTYPE_I32;
  options.rank = 1;
  options.shape[0] = 4;
  gpubuf_buffer *buffer = nullptr;
  if (!ok(gpubuf_buffer_create(device, &options, &buffer), "buffer")) return 1;

  const std::int32_t sent[4] = {3, 1, 4, 1};
  const std::int32_t none[4] = {0, 0, 0, 0};
  std::int32_t got[4] = {0, 0, 0, 0};
  const std::uint64_t wait = GPUBUF_TIMEOUT_DEFAULT;
  const bool moved = ok(gpubuf_buffer_copy_in(buffer, 0, 4, sent, wait), "copy_in") &&
                     ok(gpubuf_buffer_to_device(buffer, 0, 4, stream), "to_device") &&
                     ok(gpubuf_buffer_copy_in(buffer, 0, 4, none, wait), "copy_in") &&
                     ok(gpubuf_buffer_to_host_blocking(buffer, 0, 4, stream, wait), "to_host") &&
                     ok(gpubuf_buffer_copy_out(buffer, 0, 4, got, wait), "copy_out");
  const bool right = moved && std::memcmp(sent, got, sizeof sent) == 0;

  const bool destroyed = ok(gpubuf_buffer_destroy(buffer), "destroy buffer") &&
                         ok(gpubuf_stream_destroy(stream), "destroy stream") &&
                         ok(gpubuf_device_destroy(device), "destroy device");
  std::printf("gpubuf %s: %s\n", gpubuf_version_string(), right ? "the data came back" : "the data is wrong");
  return right && destroyed ? 0 : 1;
}
