/* Callbacks call the library back: the log's, a release's, and functions on a stream. */
#include "kit.h"
#include <pthread.h>

static gpubuf_device *device;
static gpubuf_stream *stream;
static int logged, opened, released;
static char memory[4096] __attribute__((aligned(4096)));

static void second(int32_t level, const char *message, void *user_data) {
  (void)level;
  (void)message;
  ++*(int *)user_data;
}

static int second_count;

static void first(int32_t level, const char *message, void *user_data) {
  CHECK(user_data == &logged && message[0] && level >= GPUBUF_LOG_DEBUG && level <= GPUBUF_LOG_ERROR);
  ++logged;
  /* Fails, makes a message of its own, and must not come back in here. */
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_stream_destroy((gpubuf_stream *)memory));
  gpubuf_stream *own;
  if (logged == 1) {
    OK(gpubuf_stream_create(device, &own));
    OK(gpubuf_stream_destroy(own));
  }
  if (logged == 3) OK(gpubuf_log_set_callback(second, &second_count));
}

static void logs(void) {
  OK(gpubuf_log_set_callback(first, &logged));
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_event_destroy((gpubuf_event *)memory));
  CHECK(logged == 1);
  CHECK(kit_message_has("gpubuf_event_destroy: ")); /* Not what the callback did. */
  for (int i = 0; i < 4; ++i) (void)gpubuf_event_destroy((gpubuf_event *)memory);
  CHECK(logged == 3 && second_count > 0);
  OK(gpubuf_log_set_callback(NULL, NULL));
  int before = second_count;
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_event_destroy((gpubuf_event *)memory));
  CHECK(second_count == before);
  OK(gpubuf_log_set_callback(second, &opened));
  gpubuf_device *other;
  OK(gpubuf_device_open(NULL, &other));
  CHECK(opened == 1);
  gpubuf_event *event;
  OK(gpubuf_event_create(device, &event));
  OK(gpubuf_host_stream_delay(stream, 20 * 1000 * 1000));
  OK(gpubuf_event_record(event, stream));
  EXPECT(GPUBUF_TIMEOUT, gpubuf_event_wait(event, 1));
  CHECK(opened == 2);
  OK(gpubuf_event_wait(event, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_event_destroy(event));
  OK(gpubuf_device_destroy(other));
  OK(gpubuf_log_set_callback(NULL, NULL));
}

static gpubuf_buffer *borrowed(gpubuf_release_fn release, void *user_data) {
  gpubuf_buffer *buffer;
  gpubuf_buffer_options options;
  gpubuf_buffer_options_init(&options, sizeof options);
  options.dtype = GPUBUF_DTYPE_U8;
  options.rank = 1;
  options.shape[0] = sizeof memory;
  options.host_memory = memory;
  options.release = release;
  options.release_user_data = user_data;
  OK(gpubuf_buffer_create(device, &options, &buffer));
  return buffer;
}

static void on_release(void *user_data) {
  CHECK(user_data == &released);
  ++released;
  /* The memory is free again: wrap it anew, and end that in turn. */
  if (released < 3) OK(gpubuf_buffer_destroy(borrowed(on_release, &released)));
  OK(gpubuf_device_maintain(device, NULL));
}

static void releases(void) {
  gpubuf_buffer *buffer = borrowed(on_release, &released);
  OK(gpubuf_host_stream_hold(stream));
  OK(gpubuf_buffer_to_device(buffer, 0, GPUBUF_ALL, stream));
  OK(gpubuf_buffer_destroy(buffer));
  OK(gpubuf_device_maintain(device, NULL));
  CHECK(released == 0);
  OK(gpubuf_host_stream_release(stream));
  for (int i = 0; i < 5; ++i) OK(gpubuf_device_drain(device, GPUBUF_TIMEOUT_DEFAULT));
  CHECK(released == 3);
  buffer = borrowed(on_release, &released);
  OK(gpubuf_buffer_detach(buffer, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_buffer_destroy(buffer));
  OK(gpubuf_device_drain(device, GPUBUF_TIMEOUT_DEFAULT));
  CHECK(released == 3);
}

struct inside {
  gpubuf_host_view *view;
  gpubuf_event *event;
  gpubuf_stream *second;
  uint64_t address;
  int calls;
};

static void on_stream(gpubuf_host_view *view, void *user_data) {
  struct inside *inside = user_data;
  ++inside->calls;
  inside->view = view;
  int32_t value = 7;
  OK(gpubuf_host_view_write(view, inside->address, &value, sizeof value));
  value = 0;
  OK(gpubuf_host_view_read(view, inside->address, &value, sizeof value));
  CHECK(value == 7);
  OK(gpubuf_host_view_read(view, inside->address, NULL, 0));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_host_view_read(view, inside->address, NULL, 4));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_host_view_read(view, 64, &value, 4));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_host_view_read(view, inside->address, &value, UINT64_MAX));
  EXPECT(GPUBUF_INVALID_ARGUMENT, gpubuf_host_view_write(view, inside->address, &value, UINT64_MAX));
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_host_view_read((gpubuf_host_view *)&value, inside->address, &value, 4));
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_describe(view, NULL, 0, NULL));
  /* Waits would never end; work on another stream is fine. */
  EXPECT(GPUBUF_WOULD_DEADLOCK, gpubuf_stream_synchronize(stream, GPUBUF_TIMEOUT_DEFAULT));
  EXPECT(GPUBUF_WOULD_DEADLOCK, gpubuf_device_drain(device, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_host_stream_delay(inside->second, 1));
  OK(gpubuf_event_record(inside->event, inside->second));
}

static void functions(void) {
  struct inside inside = {0};
  gpubuf_buffer *buffer = kit_buffer(device, 16);
  OK(gpubuf_buffer_device_address(buffer, &stream, 1, &inside.address));
  OK(gpubuf_event_create(device, &inside.event));
  OK(gpubuf_stream_create(device, &inside.second));
  OK(gpubuf_host_stream_call(stream, on_stream, &inside));
  OK(gpubuf_stream_synchronize(stream, GPUBUF_TIMEOUT_DEFAULT));
  CHECK(inside.calls == 1);
  OK(gpubuf_event_wait(inside.event, GPUBUF_TIMEOUT_DEFAULT));
  char byte;
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_host_view_read(inside.view, inside.address, &byte, 1));
  OK(gpubuf_event_destroy(inside.event));
  OK(gpubuf_stream_destroy(inside.second));
  OK(gpubuf_buffer_destroy(buffer));
}

/* The message is used to the very end of a thread. */
static pthread_key_t key;

static void at_thread_end(void *value) {
  (void)value;
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_stream_query((gpubuf_stream *)memory));
  CHECK(kit_message_has("gpubuf_stream_query"));
  OK(gpubuf_event_query(value));
}

static void *short_lived(void *event) {
  CHECK(gpubuf_last_error_message(NULL, 0) == 0);
  CHECK(!pthread_setspecific(key, event));
  return NULL;
}

int main(void) {
  OK(gpubuf_device_open(NULL, &device));
  OK(gpubuf_stream_create(device, &stream));
  logs();
  releases();
  functions();
  gpubuf_event *event;
  pthread_t thread;
  OK(gpubuf_event_create(device, &event));
  CHECK(!pthread_key_create(&key, at_thread_end));
  CHECK(!pthread_create(&thread, NULL, short_lived, event) && !pthread_join(thread, NULL));
  return 0;
}
