/* A thread of the library's keeps a device up: while nobody calls, through a fork, and not past the end of the process. */
#include "kit.h"
#include <sched.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COUNT = 24 };

static gpubuf_device *device;
static gpubuf_stream *stream;
static int32_t memory[COUNT][1024];
static int released, over;

static void release(void *user_data) {
  (void)user_data;
  if (__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
    fprintf(stderr, "a callback after the end of the library\n");
    _exit(1);
  }
  __atomic_add_fetch(&released, 1, __ATOMIC_SEQ_CST);
}

/* Registered before the library is first used, so it runs after the library's own handler. */
static void after_the_library(void) {
  __atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
  /* Where the thread still ran, it would have had the time to show it. */
  for (int i = 0; i < 200; ++i) sched_yield();
}

/* Borrows memory, copies it, and lets go of it while the copy may still read it. */
static void lend(int which) {
  gpubuf_buffer *buffer = NULL;
  gpubuf_buffer_options options;
  gpubuf_buffer_options_init(&options, sizeof options);
  options.dtype = GPUBUF_DTYPE_I32;
  options.rank = 1;
  options.shape[0] = 1024;
  options.host_memory = memory[which];
  options.host_placement = GPUBUF_PLACEMENT_PAGEABLE;
  options.release = release;
  OK(gpubuf_buffer_create(device, &options, &buffer));
  OK(gpubuf_buffer_to_device(buffer, 0, GPUBUF_ALL, stream));
  OK(gpubuf_buffer_destroy(buffer));
}

static void child(void) {
  uint64_t freed = 0;
  EXPECT(GPUBUF_FORKED, gpubuf_device_maintain(device, &freed));
  EXPECT(GPUBUF_FORKED, gpubuf_report(GPUBUF_REPORT_JSON, NULL, 0, NULL));
  OK(gpubuf_device_destroy(device));
  exit(0);
}

int main(void) {
  atexit(after_the_library);
  gpubuf_device_options options;
  gpubuf_device_options_init(&options, sizeof options);
  options.upkeep_interval_ns = 1000000;
  OK(gpubuf_device_open(&options, &device));
  OK(gpubuf_stream_create(device, &stream));
  for (int i = 0; i < COUNT; ++i) lend(i);
  const time_t deadline = time(NULL) + 60;
  while (__atomic_load_n(&released, __ATOMIC_SEQ_CST) < COUNT && time(NULL) < deadline) sched_yield();
  CHECK(released == COUNT);
  pid_t pid = fork();
  if (pid == 0) child();
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  /* The thread goes on in the parent, and the process ends in the middle of it. */
  for (int i = 0; i < COUNT; ++i) lend(i);
  return 0;
}
