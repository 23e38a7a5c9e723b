/* The process exits with objects alive, work in flight and a thread inside: the driver is not called any more. */
#include "kit.h"
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

static gpubuf_device *device;
static struct kit kit;
static uint64_t (*calls)(const char *);
static int stop;

static void *caller(void *argument) {
  (void)argument;
  while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
    gpubuf_status status = gpubuf_buffer_to_device(kit.buffer, 0, GPUBUF_ALL, kit.stream);
    CHECK(status == GPUBUF_OK || status == GPUBUF_SHUT_DOWN || status == GPUBUF_BUSY || status == GPUBUF_QUARANTINED);
  }
  return NULL;
}

static pthread_t thread;

/* Registered before the library is first used, so it runs after the library's own handlers. */
static void after_the_library(void) {
  uint64_t before = calls(NULL);
  gpubuf_buffer *other = NULL;
  gpubuf_buffer_options options;
  gpubuf_buffer_options_init(&options, sizeof options);
  EXPECT(GPUBUF_SHUT_DOWN, gpubuf_buffer_create(device, &options, &other));
  EXPECT(GPUBUF_SHUT_DOWN, gpubuf_stream_synchronize(kit.stream, GPUBUF_TIMEOUT_INFINITE));
  OK(gpubuf_step_destroy(kit.step));
  OK(gpubuf_slots_destroy(kit.slots));
  OK(gpubuf_pool_destroy(kit.pool));
  OK(gpubuf_buffer_destroy(kit.buffer));
  OK(gpubuf_event_destroy(kit.event));
  OK(gpubuf_stream_destroy(kit.stream));
  OK(gpubuf_device_destroy(device));
  OK(gpubuf_shutdown(GPUBUF_TIMEOUT_INFINITE));
  __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
  pthread_join(thread, NULL);
  if (calls(NULL) != before) {
    fprintf(stderr, "%" PRIu64 " calls of the driver at the exit\n", calls(NULL) - before);
    _exit(1);
  }
}

int main(void) {
  void *driver = dlopen(getenv("GPUBUF_CUDA_DRIVER"), RTLD_NOW);
  CHECK(driver);
  *(void **)&calls = dlsym(driver, "gpubuf_standin_calls");
  CHECK(calls);
  atexit(after_the_library);
  gpubuf_device_options options;
  gpubuf_device_options_init(&options, sizeof options);
  options.backend = GPUBUF_BACKEND_CUDA;
  OK(gpubuf_device_open(&options, &device));
  kit = kit_make(device);
  OK(gpubuf_host_stream_delay(kit.stream, 20 * 1000 * 1000));
  OK(gpubuf_buffer_to_device(kit.buffer, 0, GPUBUF_ALL, kit.stream));
  CHECK(!pthread_create(&thread, NULL, caller, NULL));
  return 0;
}
