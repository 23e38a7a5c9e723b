/* Ways for a process to end, or to be disturbed, with the library in use: each in a child, since this process never uses it. */
#include "kit.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static gpubuf_device *device;
static struct kit kit;
static volatile int calls;

static void prepare(void) {
  OK(gpubuf_device_open(NULL, &device));
  kit = kit_make(device);
}

/* What a status may be while other threads work on the same objects and exit handlers end them; a driver may end before this
   library is told of the exit, and is lost to calls that were inside. */
static int is_expected(gpubuf_status status) {
  switch (status) {
    case GPUBUF_OK:
    case GPUBUF_BUSY:
    case GPUBUF_TIMEOUT:
    case GPUBUF_SHUT_DOWN:
    case GPUBUF_STALE_HANDLE:
    case GPUBUF_DEVICE_LOST: return 1;
    default: break;
  }
  char message[1100];
  gpubuf_last_error_message(message, sizeof message);
  fprintf(stderr, "%s: %s\n", gpubuf_status_name(status), message);
  return 0;
}

static void *caller(void *argument) {
  (void)argument;
  uint64_t token;
  void *data;
  for (;;) {
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (!is_expected(gpubuf_buffer_copy_in(kit.buffer, 0, 1, "1234", GPUBUF_TIMEOUT_DEFAULT))) _exit(20);
    if (!is_expected(gpubuf_buffer_to_device(kit.buffer, 0, 4, kit.stream))) _exit(21);
    gpubuf_status begun = gpubuf_buffer_begin_write(kit.buffer, 0, 4, 1000, &data, &token);
    if (!is_expected(begun)) _exit(22);
    if (begun == GPUBUF_OK && !is_expected(gpubuf_buffer_end_write(kit.buffer, token))) _exit(23);
    gpubuf_block *block = NULL;
    gpubuf_status acquired = gpubuf_pool_acquire(kit.pool, 0, 1000, &block);
    if (!is_expected(acquired)) _exit(24);
    if (acquired == GPUBUF_OK && !is_expected(gpubuf_block_release(block))) _exit(25);
  }
  return NULL;
}

static void start_callers(void) {
  for (int i = 0; i < 3; ++i) {
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, caller, NULL));
  }
  while (__atomic_load_n(&calls, __ATOMIC_SEQ_CST) < 30) sched_yield();
}

static void call_at_exit(void) {
  gpubuf_device_stats stats = {.struct_size = sizeof stats};
  if (!is_expected(gpubuf_device_stats_get(device, &stats))) _exit(26);
  if (!is_expected(gpubuf_buffer_destroy(kit.buffer))) _exit(27);
}

/* Threads are inside the library while the process exits, and exit handlers call it. */
static void threads_at_exit(void) {
  prepare();
  atexit(call_at_exit);
  OK(gpubuf_host_stream_delay(kit.stream, 20 * 1000 * 1000));
  start_callers();
  exit(7);
}

static void threads_at_quick_exit(void) {
  prepare();
  at_quick_exit(call_at_exit);
  OK(gpubuf_host_stream_delay(kit.stream, 20 * 1000 * 1000));
  start_callers();
  quick_exit(7);
}

static void threads_at_immediate_exit(void) {
  prepare();
  start_callers();
  _exit(7);
}

static void *main_thread_is_gone(void *argument) {
  (void)argument;
  OK(gpubuf_buffer_to_device(kit.buffer, 0, GPUBUF_ALL, kit.stream));
  OK(gpubuf_stream_synchronize(kit.stream, GPUBUF_TIMEOUT_DEFAULT));
  exit(7);
}

/* The main thread ends before the process. */
static void without_the_main_thread(void) {
  prepare();
  pthread_t thread;
  CHECK(!pthread_create(&thread, NULL, main_thread_is_gone, NULL));
  pthread_exit(NULL);
}

/* A fork with a stream held shut, work queued behind it and a guard open: both processes go on. */
static void fork_in_flight(void) {
  prepare();
  void *data;
  uint64_t token;
  OK(gpubuf_host_stream_hold(kit.stream));
  OK(gpubuf_buffer_to_device(kit.buffer, 0, 4, kit.stream));
  OK(gpubuf_block_begin_write(kit.block, 0, 4, GPUBUF_TIMEOUT_TRY, &data, &token));
  for (int round = 0; round < 3; ++round) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      memset(data, 1, 4); /* Its own copy, or not there: never the parent's to lose. */
      EXPECT(GPUBUF_FORKED, gpubuf_block_end_write(kit.block, token));
      EXPECT(GPUBUF_FORKED, gpubuf_stream_synchronize(kit.stream, GPUBUF_TIMEOUT_INFINITE));
      if (round == 0) execl("/bin/true", "true", (char *)NULL);
      if (round == 1) _exit(0);
      exit(0);
    }
    int state = 0;
    CHECK(waitpid(child, &state, 0) == child && WIFEXITED(state) && WEXITSTATUS(state) == 0);
  }
  EXPECT(GPUBUF_BUSY, gpubuf_stream_query(kit.stream));
  OK(gpubuf_block_end_write(kit.block, token));
  OK(gpubuf_host_stream_release(kit.stream));
  OK(gpubuf_stream_synchronize(kit.stream, GPUBUF_TIMEOUT_DEFAULT));
  kit_end(&kit);
  OK(gpubuf_device_destroy(device));
  exit(7);
}

static volatile sig_atomic_t signals;

static void on_signal(int number) {
  (void)number;
  int saved = errno;
  ++signals;
  /* They need nothing, and so may be called from anywhere. */
  if (gpubuf_version_number() != GPUBUF_VERSION_NUMBER || !gpubuf_status_name(GPUBUF_BUSY)) _exit(28);
  errno = saved;
}

/* Signals interrupt every wait, and system calls are not restarted: no wait ends early. */
static void interrupted(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  CHECK(!sigaction(SIGALRM, &action, NULL));
  struct itimerval often = {{0, 500}, {0, 500}};
  CHECK(!setitimer(ITIMER_REAL, &often, NULL));
  prepare();
  for (int round = 0; round < 20 || signals < 50; ++round) {
    OK(gpubuf_host_stream_delay(kit.stream, 2 * 1000 * 1000));
    OK(gpubuf_buffer_to_device(kit.buffer, 0, 4, kit.stream));
    OK(gpubuf_buffer_copy_in(kit.buffer, 0, 1, "1234", GPUBUF_TIMEOUT_INFINITE)); /* Waits for the copy. */
    OK(gpubuf_event_record(kit.event, kit.stream));
    OK(gpubuf_host_stream_delay(kit.stream, 2 * 1000 * 1000));
    OK(gpubuf_event_wait(kit.event, GPUBUF_TIMEOUT_INFINITE));
    OK(gpubuf_stream_synchronize(kit.stream, GPUBUF_TIMEOUT_INFINITE));
    /* A pool without a free block: only the deadline ends it. */
    gpubuf_block *block = NULL;
    EXPECT(GPUBUF_TIMEOUT, gpubuf_pool_acquire(kit.pool, 0, 1000 * 1000, &block));
  }
  kit_end(&kit);
  OK(gpubuf_device_destroy(device));
  OK(gpubuf_shutdown(GPUBUF_TIMEOUT_DEFAULT));
  exit(7);
}

int main(void) {
  static const struct {
    const char *name;
    void (*run)(void);
  } cases[] = {
      {"threads at exit", threads_at_exit},
      {"threads at quick_exit", threads_at_quick_exit},
      {"threads at _exit", threads_at_immediate_exit},
      {"without the main thread", without_the_main_thread},
      {"fork in flight", fork_in_flight},
      {"interrupted", interrupted},
  };
  int failures = 0;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      if (cases[i].run != interrupted) alarm(60); /* A hang is a failure, too. */
      cases[i].run();
      _exit(1);
    }
    int state = 0;
    CHECK(waitpid(child, &state, 0) == child);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 7) {
      fprintf(stderr, "%s: ended with %#x\n", cases[i].name, state);
      ++failures;
    }
  }
  return failures != 0;
}
