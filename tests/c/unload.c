/* A program that loads the library itself, and lets go of it with work in flight and threads running. */
#include <dlfcn.h>
#include <gpubuf/gpubuf.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  for (int round = 0; round < 3; ++round) {
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    __typeof__(&gpubuf_device_open) open = (__typeof__(open))dlsym(library, "gpubuf_device_open");
    __typeof__(&gpubuf_stream_create) create = (__typeof__(create))dlsym(library, "gpubuf_stream_create");
    __typeof__(&gpubuf_host_stream_delay) delay = (__typeof__(delay))dlsym(library, "gpubuf_host_stream_delay");
    gpubuf_device *device;
    gpubuf_stream *stream;
    if (open(NULL, &device) || create(device, &stream) || delay(stream, 5 * 1000 * 1000)) return 1;
    dlclose(library);
    usleep(20 * 1000);
  }
  return 0;
}
