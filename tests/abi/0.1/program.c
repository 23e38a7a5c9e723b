/* A program as it was compiled with the header beside it, run with the library of today: every struct of a caller has the size it
   had then, and nothing behind it is written. Renewed with the header only. */
#include <gpubuf/gpubuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
      exit(1); \
    } \
  } while (0)

static void ok(int line, const char *call, gpubuf_status status) {
  if (status == GPUBUF_OK) return;
  char message[1100];
  gpubuf_last_error_message(message, sizeof message);
  fprintf(stderr, "line %d: %s: %s: %s\n", line, call, gpubuf_status_name(status), message);
  exit(1);
}
#define OK(call) ok(__LINE__, #call, (call))

/* A struct with bytes behind it that are not the library's. */
#define GUARDED(type, name) \
  struct { \
    type value; \
    unsigned char after[256]; \
  } name; \
  memset(&name, 0xa5, sizeof name)

static void untouched(int line, const unsigned char *after) {
  for (int i = 0; i < 256; ++i) {
    if (after[i] != 0xa5) {
      fprintf(stderr, "line %d: byte %d behind the struct was written\n", line, i);
      exit(1);
    }
  }
}

#define INIT(type, init, name) \
  GUARDED(type, name); \
  init(&name.value, sizeof name.value); \
  CHECK(name.value.struct_size == sizeof name.value); /* else the library refuses this size */ \
  untouched(__LINE__, name.after)

#define FIGURES(type, ...) \
  do { \
    GUARDED(type, figures); \
    figures.value.struct_size = sizeof figures.value; \
    type *out = &figures.value; \
    OK(__VA_ARGS__); \
    CHECK(out->struct_size == sizeof figures.value); \
    untouched(__LINE__, figures.after); \
  } while (0)

static void buffers(gpubuf_device *device, gpubuf_stream *stream) {
  INIT(gpubuf_buffer_options, gpubuf_buffer_options_init, options);
  options.value.dtype = GPUBUF_DTYPE_I32;
  options.value.rank = 1;
  options.value.shape[0] = 8;
  gpubuf_buffer *buffer = NULL;
  OK(gpubuf_buffer_create(device, &options.value, &buffer));
  int32_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out_values[8] = {0};
  OK(gpubuf_buffer_copy_in(buffer, 0, GPUBUF_ALL, in, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_buffer_to_device(buffer, 0, GPUBUF_ALL, stream));
  OK(gpubuf_buffer_zero(buffer, GPUBUF_SIDE_HOST, NULL, GPUBUF_TIMEOUT_DEFAULT));
  OK(gpubuf_buffer_to_host(buffer, 0, GPUBUF_ALL, stream));
  OK(gpubuf_buffer_copy_out(buffer, 0, GPUBUF_ALL, out_values, GPUBUF_TIMEOUT_DEFAULT));
  CHECK(memcmp(in, out_values, sizeof in) == 0);
  FIGURES(gpubuf_buffer_info, gpubuf_buffer_info_get(buffer, out));
  FIGURES(gpubuf_buffer_stats, gpubuf_buffer_stats_get(buffer, out));
  OK(gpubuf_buffer_destroy(buffer));
}

static gpubuf_pool *pools(gpubuf_device *device, gpubuf_stream *stream) {
  INIT(gpubuf_pool_options, gpubuf_pool_options_init, options);
  options.value.block_bytes = 256;
  options.value.block_count = 2;
  options.value.device_side = 1;
  gpubuf_pool *pool = NULL;
  gpubuf_block *block = NULL;
  OK(gpubuf_pool_create(device, &options.value, &pool));
  OK(gpubuf_pool_acquire(pool, 0, GPUBUF_TIMEOUT_TRY, &block));
  OK(gpubuf_block_copy_in(block, 0, 5, "hello", GPUBUF_TIMEOUT_TRY));
  OK(gpubuf_block_to_device(block, 0, GPUBUF_ALL, stream));
  FIGURES(gpubuf_block_info, gpubuf_block_info_get(block, out));
  FIGURES(gpubuf_block_stats, gpubuf_block_stats_get(block, out));
  FIGURES(gpubuf_pool_stats, gpubuf_pool_stats_get(pool, out));
  FIGURES(gpubuf_pool_block, gpubuf_pool_block_get(pool, 0, out));
  OK(gpubuf_block_release_after(block, &stream, 1));
  INIT(gpubuf_block_options, gpubuf_block_options_init, alone);
  alone.value.bytes = 64;
  OK(gpubuf_block_create(device, &alone.value, &block));
  OK(gpubuf_block_release(block));
  return pool;
}

static void pinned(gpubuf_device *device) {
  INIT(gpubuf_pinned_options, gpubuf_pinned_options_init, options);
  INIT(gpubuf_pinned_request, gpubuf_pinned_request_init, request);
  gpubuf_pinned *manager = NULL;
  gpubuf_reservation *reservation = NULL;
  gpubuf_block *block = NULL;
  OK(gpubuf_pinned_create(device, &options.value, &manager));
  request.value.bytes = 64;
  request.value.owner = "kept";
  OK(gpubuf_pinned_reserve(manager, &request.value, &reservation));
  OK(gpubuf_reservation_commit(reservation, &request.value, &block));
  gpubuf_pinned_share shares[4];
  memset(shares, 0, sizeof shares);
  size_t count = 0;
  OK(gpubuf_pinned_shares_get(manager, shares, 4, &count));
  CHECK(count == 1 && strncmp(shares[0].owner, "kept", 4) == 0 && shares[0].blocks == 1);
  FIGURES(gpubuf_pinned_stats, gpubuf_pinned_stats_get(manager, out));
  OK(gpubuf_block_release(block));
  OK(gpubuf_pinned_destroy(manager));
}

static void step(gpubuf_slots *slots, gpubuf_stream *stream, const int32_t *rows, uint64_t count) {
  gpubuf_step *step = NULL;
  uint64_t ticket = 0;
  gpubuf_slot_rows entry;
  memset(&entry, 0, sizeof entry);
  entry.first_row = 0;
  entry.row_count = count;
  entry.rows = rows;
  OK(gpubuf_slots_begin(slots, GPUBUF_TIMEOUT_DEFAULT, &step));
  OK(gpubuf_step_write_many(step, &entry, 1, 0));
  OK(gpubuf_step_commit(step, stream, NULL, 0, &ticket));
  OK(gpubuf_slots_retire(slots, ticket, NULL, 0));
}

static void slots(gpubuf_device *device, gpubuf_stream *stream) {
  INIT(gpubuf_slots_options, gpubuf_slots_options_init, options);
  INIT(gpubuf_slot_options, gpubuf_slot_options_init, slot);
  gpubuf_slots *set = NULL;
  uint32_t number = 7;
  OK(gpubuf_slots_create(device, &options.value, &set));
  slot.value.dtype = GPUBUF_DTYPE_I32;
  slot.value.rank = 1;
  slot.value.shape[0] = 4;
  slot.value.name = "ids";
  OK(gpubuf_slots_add(set, &slot.value, &number));
  CHECK(number == 0);
  OK(gpubuf_slots_freeze(set));
  const int32_t rows[4] = {1, 2, 3, 4};
  step(set, stream, rows, 4);
  FIGURES(gpubuf_slot_info, gpubuf_slots_slot_info(set, 0, out));
  FIGURES(gpubuf_slots_stats, gpubuf_slots_stats_get(set, out));
  OK(gpubuf_slots_destroy(set));

  INIT(gpubuf_decode_options, gpubuf_decode_options_init, decode);
  decode.value.max_batch = 4;
  decode.value.max_tokens = 16;
  decode.value.max_seq_len = 64;
  OK(gpubuf_slots_create_decode(device, &decode.value, &set));
  OK(gpubuf_slots_freeze(set));
  OK(gpubuf_slots_find(set, "block_table", &number));
  OK(gpubuf_slots_destroy(set));
}

static void staged_rows(gpubuf_device *device, gpubuf_stream *stream) {
  INIT(gpubuf_staged_rows_options, gpubuf_staged_rows_options_init, options);
  options.value.dtype = GPUBUF_DTYPE_I32;
  options.value.rows = options.value.row_elements = 4;
  gpubuf_staged_rows *rows = NULL;
  OK(gpubuf_staged_rows_create(device, &options.value, &rows));
  FIGURES(gpubuf_staged_rows_info, gpubuf_staged_rows_info_get(rows, out));
  FIGURES(gpubuf_staged_rows_stats, gpubuf_staged_rows_stats_get(rows, out));
  OK(gpubuf_staged_rows_destroy(rows));
  (void)stream;
}

static void each_entry(const gpubuf_workspace_entry *entry, void *user_data) {
  CHECK(entry->struct_size >= sizeof *entry && strcmp(entry->name, "kept") == 0);
  ++*(int *)user_data;
}

static void workspaces(gpubuf_device *device) {
  INIT(gpubuf_workspace_options, gpubuf_workspace_options_init, options);
  INIT(gpubuf_spec, gpubuf_spec_init, spec);
  spec.value.dtype = GPUBUF_DTYPE_I32;
  spec.value.rank = 1;
  spec.value.shape[0] = 4;
  gpubuf_workspace *workspace = NULL;
  gpubuf_buffer *buffer = NULL;
  OK(gpubuf_workspace_create(device, &options.value, &workspace));
  OK(gpubuf_workspace_get(workspace, "kept", &spec.value, GPUBUF_TIMEOUT_DEFAULT, &buffer));
  int entries = 0;
  OK(gpubuf_workspace_list(workspace, each_entry, &entries));
  CHECK(entries == 1);
  FIGURES(gpubuf_workspace_stats, gpubuf_workspace_stats_get(workspace, out));
  OK(gpubuf_buffer_destroy(buffer));
  OK(gpubuf_workspace_destroy(workspace));
}

static void tensors(gpubuf_pool *pool) {
  INIT(gpubuf_tensor_options, gpubuf_tensor_options_init, options);
  options.value.dtype = GPUBUF_DTYPE_I32;
  options.value.rank = 1;
  options.value.shape[0] = 16;
  gpubuf_tensor *tensor = NULL;
  OK(gpubuf_tensor_create(pool, &options.value, &tensor));
  FIGURES(gpubuf_tensor_info, gpubuf_tensor_info_get(tensor, out));
  FIGURES(gpubuf_tensor_stats, gpubuf_tensor_stats_get(tensor, out));
  OK(gpubuf_tensor_destroy(tensor));
}

static void tiers(gpubuf_device *device) {
  INIT(gpubuf_tiers_options, gpubuf_tiers_options_init, options);
  options.value.device_bytes = options.value.pinned_bytes = 256;
  gpubuf_tiers *all = NULL;
  gpubuf_tiered_block *block = NULL;
  OK(gpubuf_tiers_create(device, &options.value, &all));
  OK(gpubuf_tiered_block_create(all, 64, GPUBUF_PLACEMENT_NONE, &block));
  FIGURES(gpubuf_tiered_block_info, gpubuf_tiered_block_info_get(block, out));
  FIGURES(gpubuf_tiers_stats, gpubuf_tiers_stats_get(all, out));
  FIGURES(gpubuf_tier_stats, gpubuf_tiers_tier_get(all, GPUBUF_PLACEMENT_PINNED, out));
  OK(gpubuf_tiered_block_destroy(block));
  OK(gpubuf_tiers_destroy(all));
}

static void watchers(gpubuf_device *device) {
  INIT(gpubuf_pressure_options, gpubuf_pressure_options_init, pressure_options);
  gpubuf_pressure *pressure = NULL;
  OK(gpubuf_pressure_create(device, &pressure_options.value, &pressure));
  FIGURES(gpubuf_pressure_stats, gpubuf_pressure_stats_get(pressure, out));
  OK(gpubuf_pressure_destroy(pressure));
  INIT(gpubuf_predictor_options, gpubuf_predictor_options_init, predictor_options);
  gpubuf_predictor *predictor = NULL;
  OK(gpubuf_predictor_create(device, &predictor_options.value, &predictor));
  OK(gpubuf_predictor_record(predictor, 64, NULL));
  FIGURES(gpubuf_predictor_stats, gpubuf_predictor_stats_get(predictor, out));
  OK(gpubuf_predictor_destroy(predictor));
}

static void pieces(void) {
  const int32_t first[2] = {1, 2}, second[1] = {3};
  int32_t target[3] = {0}, offsets[3] = {0};
  gpubuf_piece list[2];
  memset(list, 0, sizeof list);
  list[0].data = first;
  list[0].count = 2;
  list[1].data = second;
  list[1].count = 1;
  OK(gpubuf_ops_flatten(list, 2, sizeof *target, GPUBUF_DTYPE_I32, target, 3, offsets));
  CHECK(target[2] == 3 && offsets[2] == 3);
}

int main(void) {
  /* The library is of the same minor version, and not older. */
  CHECK(gpubuf_version_number() / 1000 == GPUBUF_VERSION_NUMBER / 1000 && gpubuf_version_number() >= GPUBUF_VERSION_NUMBER);
  INIT(gpubuf_device_options, gpubuf_device_options_init, options);
  options.value.backend = GPUBUF_BACKEND_HOST;
  options.value.probe = 1;
  gpubuf_device *device = NULL;
  gpubuf_stream *stream = NULL;
  OK(gpubuf_device_open(&options.value, &device));
  OK(gpubuf_stream_create(device, &stream));
  FIGURES(gpubuf_device_info, gpubuf_device_info_get(device, out));
  FIGURES(gpubuf_device_summary, gpubuf_device_summary_get(GPUBUF_BACKEND_HOST, 0, out));
  FIGURES(gpubuf_capabilities, gpubuf_device_probe(device, GPUBUF_TIMEOUT_DEFAULT, out));
  buffers(device, stream);
  gpubuf_pool *pool = pools(device, stream);
  tensors(pool);
  OK(gpubuf_pool_destroy(pool));
  pinned(device);
  slots(device, stream);
  staged_rows(device, stream);
  workspaces(device);
  tiers(device);
  watchers(device);
  pieces();
  FIGURES(gpubuf_device_stats, gpubuf_device_stats_get(device, out));
  OK(gpubuf_stream_destroy(stream));
  OK(gpubuf_device_destroy(device));
  return 0;
}
