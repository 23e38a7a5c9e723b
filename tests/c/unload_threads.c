/* A program lets go of the library while threads of its own are inside, and gets it again: it never left. */
#include <dlfcn.h>
#include <gpubuf/gpubuf.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static __typeof__(&gpubuf_device_open) open_device;
static __typeof__(&gpubuf_device_stats_get) stats_get;
static __typeof__(&gpubuf_stream_create) create_stream;
static __typeof__(&gpubuf_stream_destroy) destroy_stream;
static gpubuf_device *device;
static int go_on = 1, calls, wrong;

static void *caller(void *argument) {
  (void)argument;
  gpubuf_device_stats stats = {.struct_size = sizeof stats};
  while (__atomic_load_n(&go_on, __ATOMIC_SEQ_CST)) {
    gpubuf_stream *stream = NULL;
    if (stats_get(device, &stats) || create_stream(device, &stream) || destroy_stream(stream)) {
      __atomic_store_n(&wrong, 1, __ATOMIC_SEQ_CST);
    }
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
  }
  return NULL;
}

static void *load(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) exit((fprintf(stderr, "%s\n", dlerror()), 2));
  open_device = (__typeof__(open_device))dlsym(library, "gpubuf_device_open");
  stats_get = (__typeof__(stats_get))dlsym(library, "gpubuf_device_stats_get");
  create_stream = (__typeof__(create_stream))dlsym(library, "gpubuf_stream_create");
  destroy_stream = (__typeof__(destroy_stream))dlsym(library, "gpubuf_stream_destroy");
  return library;
}

static void more_calls(void) {
  int before = __atomic_load_n(&calls, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&calls, __ATOMIC_SEQ_CST) < before + 20) sched_yield();
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  void *library = load(argv[1]);
  if (open_device(NULL, &device)) return 3;
  pthread_t threads[3];
  for (int i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, caller, NULL);
  for (int round = 0; round < 5; ++round) {
    more_calls();
    if (dlclose(library)) return 4;
    more_calls(); /* Inside a library that nobody has open. */
    library = load(argv[1]);
  }
  /* The device that was made before the first dlclose is still one. */
  gpubuf_device_stats stats = {.struct_size = sizeof stats};
  if (stats_get(device, &stats)) return 5;
  __atomic_store_n(&go_on, 0, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 3; ++i) pthread_join(threads[i], NULL);
  return wrong; /* With the device alive. */
}
