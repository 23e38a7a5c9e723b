/* Handles that are used and destroyed by many threads at once: each call answers something that can be true, and each object
   ends once. */
#include "kit.h"
#include <pthread.h>

enum { THREADS = 6, ROUNDS = 400, PLACES = 4 };

static gpubuf_device *device;
static gpubuf_stream *stream;
static gpubuf_pool *pool;
static gpubuf_buffer *places[PLACES];
static int created, destroyed;

static int one_of(gpubuf_status status, const gpubuf_status *wanted) {
  for (; *wanted >= 0; ++wanted)
    if (status == *wanted) return 1;
  char message[1100];
  gpubuf_last_error_message(message, sizeof message);
  fprintf(stderr, "%s: %s\n", gpubuf_status_name(status), message);
  return 0;
}

static void *buffers(void *argument) {
  unsigned random = (unsigned)(uintptr_t)argument * 7919u + 1u;
  static const gpubuf_status used[] = {GPUBUF_OK, GPUBUF_STALE_HANDLE, GPUBUF_BUSY, GPUBUF_INVALID_ARGUMENT, -1};
  static const gpubuf_status ended[] = {GPUBUF_OK, GPUBUF_STALE_HANDLE, -1};
  for (int round = 0; round < ROUNDS; ++round) {
    random = random * 1103515245u + 12345u;
    gpubuf_buffer **place = &places[(random >> 16) % PLACES];
    gpubuf_buffer *buffer = __atomic_load_n(place, __ATOMIC_SEQ_CST);
    int32_t value = round;
    switch ((random >> 20) % 5) {
      case 0: {
        gpubuf_buffer *fresh = kit_buffer(device, 64);
        __atomic_add_fetch(&created, 1, __ATOMIC_SEQ_CST);
        buffer = __atomic_exchange_n(place, fresh, __ATOMIC_SEQ_CST);
        if (buffer == NULL) break;
      }
      /* fall through */
      case 1: {
        gpubuf_status status = gpubuf_buffer_destroy(buffer);
        CHECK(one_of(status, ended));
        if (status == GPUBUF_OK && buffer) __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST);
        break;
      }
      case 2: CHECK(one_of(gpubuf_buffer_copy_in(buffer, 3, 1, &value, GPUBUF_TIMEOUT_DEFAULT), used)); break;
      case 3: CHECK(one_of(gpubuf_buffer_to_device(buffer, 0, GPUBUF_ALL, stream), used)); break;
      default: CHECK(one_of(gpubuf_set_label(buffer, "shared"), used)); break;
    }
  }
  return NULL;
}

static void *blocks(void *argument) {
  (void)argument;
  for (int round = 0; round < ROUNDS; ++round) {
    gpubuf_block *block;
    OK(gpubuf_pool_acquire(pool, 0, GPUBUF_TIMEOUT_DEFAULT, &block));
    OK(gpubuf_block_copy_in(block, 0, sizeof round, &round, GPUBUF_TIMEOUT_DEFAULT));
    OK(gpubuf_block_to_device(block, 0, GPUBUF_ALL, stream));
    if (round % 2)
      OK(gpubuf_block_release(block));
    else
      OK(gpubuf_block_release_after(block, &stream, 1));
    EXPECT(GPUBUF_STALE_HANDLE, gpubuf_block_release(block));
  }
  return NULL;
}

static pthread_barrier_t barrier;
static int winners;

static void *end_all(void *argument) {
  pthread_barrier_wait(&barrier);
  if (gpubuf_event_destroy(argument) == GPUBUF_OK) __atomic_add_fetch(&winners, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static void run(void *(*body)(void *), int same, void *argument) {
  pthread_t threads[THREADS];
  for (uintptr_t i = 0; i < THREADS; ++i) CHECK(!pthread_create(&threads[i], NULL, body, same ? argument : (void *)i));
  for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
}

int main(void) {
  OK(gpubuf_device_open(NULL, &device));
  OK(gpubuf_stream_create(device, &stream));
  pool = kit_pool(device, 3);
  run(buffers, 0, NULL);
  for (int i = 0; i < PLACES; ++i)
    if (places[i] && gpubuf_buffer_destroy(places[i]) == GPUBUF_OK) ++destroyed;
  CHECK(created == destroyed);
  run(blocks, 0, NULL);
  pthread_barrier_init(&barrier, NULL, THREADS);
  for (int round = 0; round < 100; ++round) {
    gpubuf_event *event;
    OK(gpubuf_event_create(device, &event));
    winners = 0;
    run(end_all, 1, event);
    CHECK(winners == 1);
  }
  OK(gpubuf_pool_destroy(pool));
  OK(gpubuf_device_drain(device, GPUBUF_TIMEOUT_DEFAULT));
  gpubuf_device_stats stats;
  stats.struct_size = sizeof stats;
  OK(gpubuf_device_stats_get(device, &stats));
  CHECK(stats.pinned_bytes == 0 && stats.device_bytes == 0 && stats.deferred_objects == 0);
  return 0;
}
