/* Objects that nobody destroyed: named in the log at the end, with where they were made, and in the report. */
#include "kit.h"

static char heard[1 << 16];

static void hear(int32_t level, const char *message, void *user_data) {
  (void)user_data;
  if (level >= GPUBUF_LOG_WARN && strlen(heard) + strlen(message) + 2 < sizeof heard) {
    strcat(heard, message);
    strcat(heard, "\n");
  }
}

__attribute__((noinline)) gpubuf_buffer *make_the_lost_buffer(gpubuf_device *device) {
  gpubuf_buffer *buffer = kit_buffer(device, 64);
  OK(gpubuf_set_label(buffer, "lost"));
  return buffer;
}

static void report(uint32_t format, char *out, size_t capacity) {
  size_t length = 0;
  OK(gpubuf_report(format, out, capacity, &length));
  CHECK(length < capacity && strlen(out) == length);
}

int main(void) {
  static char text[1 << 18];
  OK(gpubuf_log_set_callback(hear, NULL));
  gpubuf_device *device = NULL;
  OK(gpubuf_device_open(NULL, &device));
  gpubuf_buffer *lost = make_the_lost_buffer(device);
  gpubuf_buffer *kept = kit_buffer(device, 4);
  OK(gpubuf_buffer_destroy(kept));
  CHECK(heard[0] == 0);

  report(GPUBUF_REPORT_TEXT, text, sizeof text);
  CHECK(strstr(text, "live objects: 2"));
  CHECK(strstr(text, "buffer \"lost\""));
  CHECK(strstr(text, "make_the_lost_buffer"));
  report(GPUBUF_REPORT_JSON, text, sizeof text);
  CHECK(strstr(text, "\"name\":\"buffer \\\"lost\\\"\""));
  CHECK(strstr(text, "\"bytes\":512"));
  CHECK(strstr(text, "make_the_lost_buffer"));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_report(2, text, sizeof text, NULL));
  CHECK(kit_message_has("format 2"));

  /* More than are named one by one. */
  gpubuf_event *events[40];
  for (int i = 0; i < 40; ++i) OK(gpubuf_event_create(device, &events[i]));
  OK(gpubuf_shutdown(GPUBUF_TIMEOUT_DEFAULT));
  CHECK(strstr(heard, "shutdown: not destroyed: buffer \"lost\", 512 bytes, made by "));
  CHECK(strstr(heard, "make_the_lost_buffer"));
  CHECK(strstr(heard, "9 more objects"));
  CHECK(!strstr(heard, "device #"));

  /* Told once; and the report still works. */
  heard[0] = 0;
  OK(gpubuf_shutdown(GPUBUF_TIMEOUT_TRY));
  CHECK(heard[0] == 0);
  report(GPUBUF_REPORT_JSON, text, sizeof text);
  CHECK(strstr(text, "\"shut_down\":true") && strstr(text, "\"lost\\\"\""));
  OK(gpubuf_buffer_destroy(lost));
  report(GPUBUF_REPORT_JSON, text, sizeof text);
  CHECK(!strstr(text, "\"lost\\\"\""));
  return 0;
}
