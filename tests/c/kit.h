/* What the C programs share: checks that say where they failed, and one object of every kind. */
#ifndef GPUBUF_TESTS_KIT_H
#define GPUBUF_TESTS_KIT_H

#include <gpubuf/gpubuf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void kit_expect(int line, const char *what, int32_t wanted, int32_t got) {
  if (wanted != got) {
    char message[1100];
    gpubuf_last_error_message(message, sizeof message);
    fprintf(stderr, "line %d: %s: %s, not %s: %s\n", line, what, gpubuf_status_name(got), gpubuf_status_name(wanted), message);
    exit(1);
  }
}

#define EXPECT(status, call) kit_expect(__LINE__, #call, (status), (call))
#define OK(call) EXPECT(GPUBUF_OK, call)
#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
      exit(1); \
    } \
  } while (0)

/* The message of the last refusal, and whether it has a word in it. */
static inline int kit_message_has(const char *word) {
  char message[1100];
  gpubuf_last_error_message(message, sizeof message);
  if (strstr(message, word)) return 1;
  fprintf(stderr, "\"%s\" is not in: %s\n", word, message);
  return 0;
}

static inline gpubuf_buffer *kit_buffer(gpubuf_device *device, uint64_t count) {
  gpubuf_buffer *buffer = NULL;
  gpubuf_buffer_options options;
  gpubuf_buffer_options_init(&options, sizeof options);
  options.dtype = GPUBUF_DTYPE_I32;
  options.rank = 1;
  options.shape[0] = count;
  OK(gpubuf_buffer_create(device, &options, &buffer));
  return buffer;
}

static inline gpubuf_pool *kit_pool(gpubuf_device *device, uint32_t blocks) {
  gpubuf_pool *pool = NULL;
  gpubuf_pool_options options;
  gpubuf_pool_options_init(&options, sizeof options);
  options.block_bytes = 256;
  options.block_count = blocks;
  options.device_side = 1;
  OK(gpubuf_pool_create(device, &options, &pool));
  return pool;
}

static inline gpubuf_tensor *kit_tensor(gpubuf_pool *pool) {
  gpubuf_tensor *tensor = NULL;
  gpubuf_tensor_options options;
  gpubuf_tensor_options_init(&options, sizeof options);
  options.dtype = GPUBUF_DTYPE_I32;
  options.rank = 1;
  options.shape[0] = 16;
  OK(gpubuf_tensor_create(pool, &options, &tensor));
  return tensor;
}

/* Two slots of eight rows, frozen. */
static inline gpubuf_slots *kit_slots(gpubuf_device *device) {
  gpubuf_slots *slots = NULL;
  uint32_t number = 0;
  gpubuf_slots_options options;
  gpubuf_slots_options_init(&options, sizeof options);
  OK(gpubuf_slots_create(device, &options, &slots));
  gpubuf_slot_options slot;
  gpubuf_slot_options_init(&slot, sizeof slot);
  slot.dtype = GPUBUF_DTYPE_I32;
  slot.rank = 1;
  slot.shape[0] = 8;
  slot.name = "ids";
  OK(gpubuf_slots_add(slots, &slot, &number));
  slot.name = "kept";
  slot.kind = GPUBUF_SLOT_KEPT;
  OK(gpubuf_slots_add(slots, &slot, &number));
  CHECK(number == 1);
  OK(gpubuf_slots_freeze(slots));
  return slots;
}

static inline gpubuf_staged_rows *kit_staged_rows(gpubuf_device *device) {
  gpubuf_staged_rows *rows = NULL;
  gpubuf_staged_rows_options options;
  gpubuf_staged_rows_options_init(&options, sizeof options);
  options.dtype = GPUBUF_DTYPE_I32;
  options.rows = options.row_elements = 4;
  OK(gpubuf_staged_rows_create(device, &options, &rows));
  return rows;
}

struct kit {
  gpubuf_device *device;
  gpubuf_stream *stream;
  gpubuf_event *event;
  gpubuf_buffer *buffer;
  gpubuf_pool *pool;
  gpubuf_block *block;
  gpubuf_slots *slots;
  gpubuf_step *step;
  gpubuf_graph_hold *graph_hold;
  gpubuf_predictor *predictor;
  gpubuf_staged_rows *staged_rows;
  gpubuf_pinned *pinned;
  gpubuf_reservation *reservation;
  gpubuf_tensor *tensor;
  gpubuf_workspace *workspace;
  gpubuf_tiers *tiers;
  gpubuf_tiered_block *tiered_block;
  gpubuf_pressure *pressure;
};

static inline struct kit kit_make(gpubuf_device *device) {
  struct kit kit;
  memset(&kit, 0, sizeof kit);
  kit.device = device;
  OK(gpubuf_stream_create(device, &kit.stream));
  OK(gpubuf_event_create(device, &kit.event));
  kit.buffer = kit_buffer(device, 16);
  kit.pool = kit_pool(device, 1);
  OK(gpubuf_pool_acquire(kit.pool, 0, GPUBUF_TIMEOUT_TRY, &kit.block));
  kit.slots = kit_slots(device);
  OK(gpubuf_slots_begin(kit.slots, GPUBUF_TIMEOUT_TRY, &kit.step));
  OK(gpubuf_graph_hold_create(device, &kit.graph_hold));
  OK(gpubuf_predictor_create(device, NULL, &kit.predictor));
  kit.staged_rows = kit_staged_rows(device);
  gpubuf_pinned_options options;
  gpubuf_pinned_options_init(&options, sizeof options);
  OK(gpubuf_pinned_create(device, &options, &kit.pinned));
  gpubuf_pinned_request request;
  gpubuf_pinned_request_init(&request, sizeof request);
  request.bytes = 64;
  OK(gpubuf_pinned_reserve(kit.pinned, &request, &kit.reservation));
  kit.tensor = kit_tensor(kit.pool);
  OK(gpubuf_workspace_create(device, NULL, &kit.workspace));
  gpubuf_tiers_options tiers;
  gpubuf_tiers_options_init(&tiers, sizeof tiers);
  tiers.device_bytes = tiers.pinned_bytes = 256;
  OK(gpubuf_tiers_create(device, &tiers, &kit.tiers));
  OK(gpubuf_tiered_block_create(kit.tiers, 64, GPUBUF_PLACEMENT_NONE, &kit.tiered_block));
  OK(gpubuf_pressure_create(device, NULL, &kit.pressure));
  return kit;
}

/* Ends every handle of the kit but the device's, those that ended already, too. */
static inline void kit_end(struct kit *kit) {
  (void)gpubuf_pressure_destroy(kit->pressure);
  (void)gpubuf_tiered_block_destroy(kit->tiered_block);
  (void)gpubuf_tiers_destroy(kit->tiers);
  (void)gpubuf_predictor_destroy(kit->predictor);
  (void)gpubuf_staged_rows_destroy(kit->staged_rows);
  (void)gpubuf_reservation_destroy(kit->reservation);
  (void)gpubuf_pinned_destroy(kit->pinned);
  (void)gpubuf_workspace_destroy(kit->workspace);
  (void)gpubuf_tensor_destroy(kit->tensor);
  (void)gpubuf_graph_hold_destroy(kit->graph_hold);
  (void)gpubuf_step_destroy(kit->step);
  (void)gpubuf_slots_destroy(kit->slots);
  if (gpubuf_block_declare_unread(kit->block) == GPUBUF_OK) OK(gpubuf_block_release(kit->block));
  (void)gpubuf_pool_destroy(kit->pool);
  (void)gpubuf_buffer_destroy(kit->buffer);
  (void)gpubuf_event_destroy(kit->event);
  (void)gpubuf_stream_destroy(kit->stream);
}

#endif
