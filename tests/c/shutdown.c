/* The library's end, with objects alive, work in flight and other threads inside; then the process's. */
#include "kit.h"
#include <pthread.h>

static gpubuf_device *device;
static struct kit kit;
static int views;

static void on_stream(gpubuf_host_view *view, void *user_data) {
  int32_t value;
  OK(gpubuf_host_view_read(view, *(uint64_t *)user_data, &value, sizeof value));
  __atomic_add_fetch(&views, 1, __ATOMIC_SEQ_CST);
}

static int go_on = 1;

static void *caller(void *argument) {
  (void)argument;
  while (__atomic_load_n(&go_on, __ATOMIC_SEQ_CST)) {
    gpubuf_status status = gpubuf_buffer_copy_in(kit.buffer, 0, 1, "1234", GPUBUF_TIMEOUT_DEFAULT);
    CHECK(status == GPUBUF_OK || status == GPUBUF_SHUT_DOWN || status == GPUBUF_BUSY);
  }
  return NULL;
}

static void *shutter(void *argument) {
  (void)argument;
  OK(gpubuf_shutdown(GPUBUF_TIMEOUT_DEFAULT));
  return NULL;
}

/* Registered before the library is first used, so it runs after the library's own handler: nothing is looked at any more. */
static void after_the_library(void) {
  gpubuf_device *other = NULL;
  OK(gpubuf_stream_destroy(kit.stream));
  OK(gpubuf_device_destroy((gpubuf_device *)&kit));
  EXPECT(GPUBUF_SHUT_DOWN, gpubuf_device_open(NULL, &other));
  CHECK(kit_message_has("exiting"));
  OK(gpubuf_shutdown(GPUBUF_TIMEOUT_INFINITE));
}

int main(void) {
  atexit(after_the_library);
  uint64_t address;
  OK(gpubuf_device_open(NULL, &device));
  kit = kit_make(device);
  OK(gpubuf_buffer_device_address(kit.buffer, &kit.stream, 1, &address));
  OK(gpubuf_host_stream_delay(kit.stream, 5 * 1000 * 1000));
  OK(gpubuf_host_stream_call(kit.stream, on_stream, &address));
  pthread_t callers[3], shutters[3];
  for (int i = 0; i < 3; ++i) CHECK(!pthread_create(&callers[i], NULL, caller, NULL));
  for (int i = 0; i < 3; ++i) CHECK(!pthread_create(&shutters[i], NULL, shutter, NULL));
  for (int i = 0; i < 3; ++i) pthread_join(shutters[i], NULL);
  CHECK(views == 1); /* Queued work came to its end, and could use its view. */
  __atomic_store_n(&go_on, 0, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 3; ++i) pthread_join(callers[i], NULL);

  gpubuf_device *other = NULL;
  EXPECT(GPUBUF_SHUT_DOWN, gpubuf_device_open(NULL, &other));
  CHECK(kit_message_has("gpubuf_device_open: ") && other == NULL);
  EXPECT(GPUBUF_SHUT_DOWN, gpubuf_stream_query(kit.stream));
  EXPECT(GPUBUF_SHUT_DOWN, gpubuf_log_set_callback(NULL, NULL));
  OK(gpubuf_shutdown(GPUBUF_TIMEOUT_TRY));
  CHECK(gpubuf_version_number() == GPUBUF_VERSION_NUMBER);
  OK(gpubuf_step_destroy(kit.step));
  OK(gpubuf_slots_destroy(kit.slots));
  OK(gpubuf_pool_destroy(kit.pool));
  OK(gpubuf_buffer_destroy(kit.buffer));
  OK(gpubuf_buffer_destroy(kit.buffer)); /* Twice, or whatever: harmless. */
  OK(gpubuf_event_destroy((gpubuf_event *)&kit));
  OK(gpubuf_event_destroy(kit.event));
  OK(gpubuf_device_destroy(device));
  return 0; /* With a stream and a block still alive. */
}
