/* A child after fork: the library says so, and touches nothing of its parent's. */
#include "kit.h"
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

static gpubuf_device *device;
static struct kit kit;
static gpubuf_buffer *ended;
static pid_t parent;
static sem_t spoken, forked;

/* Has one more message wait behind the first one, until there is a child. */
static void listen(int32_t level, const char *message, void *user_data) {
  static int messages;
  (void)level, (void)message, (void)user_data;
  if (getpid() != parent) _exit(9); /* What the parent has to say is said there. */
  if (messages++ == 0) {
    EXPECT(GPUBUF_STALE_HANDLE, gpubuf_buffer_destroy(ended));
    sem_post(&spoken);
    sem_wait(&forked);
  }
}

static void *speak(void *argument) {
  EXPECT(GPUBUF_STALE_HANDLE, gpubuf_buffer_destroy(ended));
  return argument;
}

static void child(void) {
  gpubuf_device *other = NULL;
  gpubuf_stream *stream = NULL;
  EXPECT(GPUBUF_FORKED, gpubuf_device_open(NULL, &other));
  EXPECT(GPUBUF_FORKED, gpubuf_stream_create(device, &stream));
  EXPECT(GPUBUF_FORKED, gpubuf_stream_synchronize(kit.stream, GPUBUF_TIMEOUT_INFINITE));
  EXPECT(GPUBUF_FORKED, gpubuf_describe(kit.buffer, NULL, 0, NULL));
  EXPECT(GPUBUF_FORKED, gpubuf_shutdown(GPUBUF_TIMEOUT_INFINITE));
  CHECK(kit_message_has("gpubuf_shutdown: ") && kit_message_has("fork"));
  CHECK(other == NULL && stream == NULL);
  CHECK(gpubuf_version_number() == GPUBUF_VERSION_NUMBER && gpubuf_dtype_size(GPUBUF_DTYPE_I8) == 1);
  const int32_t lengths[2] = {3, 4};
  int32_t offsets[3] = {0};
  OK(gpubuf_ops_offsets(lengths, GPUBUF_DTYPE_I32, 2, GPUBUF_DTYPE_I32, offsets));
  CHECK(offsets[1] == 3 && offsets[2] == 7);
  gpubuf_buffer_options options;
  gpubuf_buffer_options_init(&options, sizeof options);
  CHECK(options.struct_size == sizeof options);
  OK(gpubuf_step_destroy(kit.step));
  OK(gpubuf_buffer_destroy(kit.buffer));
  OK(gpubuf_buffer_destroy(kit.buffer));
  OK(gpubuf_device_destroy(device));
  exit(0); /* Exit handlers run, and find nothing to wait for. */
}

int main(void) {
  /* A child of a process that never called the library uses it as usual. */
  int status;
  pid_t pid = fork();
  if (pid == 0) {
    OK(gpubuf_device_open(NULL, &device));
    exit(0);
  }
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  OK(gpubuf_device_open(NULL, &device));
  kit = kit_make(device);
  OK(gpubuf_host_stream_hold(kit.stream));
  OK(gpubuf_buffer_to_device(kit.buffer, 0, GPUBUF_ALL, kit.stream));
  ended = kit_buffer(device, 1);
  OK(gpubuf_buffer_destroy(ended));
  parent = getpid();
  CHECK(sem_init(&spoken, 0, 0) == 0 && sem_init(&forked, 0, 0) == 0);
  OK(gpubuf_log_set_callback(listen, NULL));
  pthread_t speaker;
  CHECK(pthread_create(&speaker, NULL, speak, NULL) == 0);
  sem_wait(&spoken);
  pid = fork();
  if (pid == 0) child();
  CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  sem_post(&forked);
  CHECK(pthread_join(speaker, NULL) == 0);
  OK(gpubuf_log_set_callback(NULL, NULL));
  /* The parent goes on. */
  OK(gpubuf_host_stream_release(kit.stream));
  OK(gpubuf_stream_synchronize(kit.stream, GPUBUF_TIMEOUT_DEFAULT));
  kit_end(&kit);
  OK(gpubuf_device_drain(device, GPUBUF_TIMEOUT_DEFAULT));
  return 0;
}
