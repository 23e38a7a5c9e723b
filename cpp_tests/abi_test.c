/* What must not change while the minor version stays: numbers, and the layout of every struct that crosses the boundary. */
#include <gpubuf/gpubuf.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define NUMBER(name, value) _Static_assert((name) == (value), #name)
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "sizeof " #type)
#define AT(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #type "." #member)

NUMBER(GPUBUF_OK, 0);
NUMBER(GPUBUF_INVALID_ARGUMENT, 100);
NUMBER(GPUBUF_OVERFLOW, 101);
NUMBER(GPUBUF_STALE_HANDLE, 102);
NUMBER(GPUBUF_WRONG_KIND, 103);
NUMBER(GPUBUF_WRONG_DEVICE, 104);
NUMBER(GPUBUF_VERSION_MISMATCH, 105);
NUMBER(GPUBUF_NOT_FOUND, 106);
NUMBER(GPUBUF_EXISTS, 107);
NUMBER(GPUBUF_FROZEN, 108);
NUMBER(GPUBUF_UNFENCED, 200);
NUMBER(GPUBUF_NOT_RETIRED, 201);
NUMBER(GPUBUF_NOT_BEGUN, 202);
NUMBER(GPUBUF_NOT_HELD, 203);
NUMBER(GPUBUF_SLOT_UNWRITTEN, 204);
NUMBER(GPUBUF_GRAPH_HELD, 205);
NUMBER(GPUBUF_EXHAUSTED, 206);
NUMBER(GPUBUF_BUSY, 300);
NUMBER(GPUBUF_TIMEOUT, 301);
NUMBER(GPUBUF_WOULD_DEADLOCK, 302);
NUMBER(GPUBUF_CONFLICT, 303);
NUMBER(GPUBUF_BUDGET, 400);
NUMBER(GPUBUF_OUT_OF_HOST_MEMORY, 401);
NUMBER(GPUBUF_OUT_OF_DEVICE_MEMORY, 402);
NUMBER(GPUBUF_UNSUPPORTED, 500);
NUMBER(GPUBUF_CAPTURING, 501);
NUMBER(GPUBUF_DRIVER_MISSING, 502);
NUMBER(GPUBUF_DEVICE_LOST, 503);
NUMBER(GPUBUF_COPY_FAILED, 504);
NUMBER(GPUBUF_QUARANTINED, 505);
NUMBER(GPUBUF_DRIVER_ERROR, 506);
NUMBER(GPUBUF_SHUT_DOWN, 900);
NUMBER(GPUBUF_FORKED, 901);
NUMBER(GPUBUF_BROKEN, 902);
NUMBER(GPUBUF_INTERNAL, 903);

NUMBER(GPUBUF_TIMEOUT_TRY, 0);
NUMBER(GPUBUF_TIMEOUT_DEFAULT, INT64_MAX - 1);
NUMBER(GPUBUF_TIMEOUT_INFINITE, INT64_MAX);
NUMBER(GPUBUF_ALL, INT64_MAX);
NUMBER(GPUBUF_BACKEND_AUTO, 0);
NUMBER(GPUBUF_BACKEND_CUDA, 1);
NUMBER(GPUBUF_BACKEND_HOST, 2);
NUMBER(GPUBUF_ORDINAL_AUTO, UINT32_MAX);
NUMBER(GPUBUF_UNKNOWN, INT64_MAX);
NUMBER(GPUBUF_ANSWER_NOT_TESTED, 0);
NUMBER(GPUBUF_ANSWER_NO, 1);
NUMBER(GPUBUF_ANSWER_YES, 2);
NUMBER(GPUBUF_CAPABILITY_SEES_HOST_WRITES, 1);
NUMBER(GPUBUF_CAPABILITY_HUGE_PAGES, 8);
NUMBER(GPUBUF_REPORT_TEXT, 0);
NUMBER(GPUBUF_REPORT_JSON, 1);
NUMBER(GPUBUF_PINNED_REGISTER, 2);
NUMBER(GPUBUF_DEVICE_MEMORY_STREAM_ORDERED, 1);
NUMBER(GPUBUF_PLACEMENT_NONE, 0);
NUMBER(GPUBUF_PLACEMENT_PAGEABLE, 1);
NUMBER(GPUBUF_PLACEMENT_PINNED, 2);
NUMBER(GPUBUF_PLACEMENT_UVA, 3);
NUMBER(GPUBUF_PLACEMENT_DEVICE, 4);
NUMBER(GPUBUF_PLACEMENT_MANAGED, 5);
NUMBER(GPUBUF_DTYPE_BOOL, 1);
NUMBER(GPUBUF_DTYPE_I8, 2);
NUMBER(GPUBUF_DTYPE_I16, 3);
NUMBER(GPUBUF_DTYPE_I32, 4);
NUMBER(GPUBUF_DTYPE_I64, 5);
NUMBER(GPUBUF_DTYPE_U8, 6);
NUMBER(GPUBUF_DTYPE_U16, 7);
NUMBER(GPUBUF_DTYPE_U32, 8);
NUMBER(GPUBUF_DTYPE_U64, 9);
NUMBER(GPUBUF_DTYPE_F16, 10);
NUMBER(GPUBUF_DTYPE_BF16, 11);
NUMBER(GPUBUF_DTYPE_F32, 12);
NUMBER(GPUBUF_DTYPE_F64, 13);
NUMBER(GPUBUF_DTYPE_F8_E4M3, 14);
NUMBER(GPUBUF_DTYPE_F8_E5M2, 15);
NUMBER(GPUBUF_SIDE_HOST, 1);
NUMBER(GPUBUF_SIDE_DEVICE, 2);
NUMBER(GPUBUF_SIDE_BOTH, 3);
NUMBER(GPUBUF_SYNC_DEFAULT, 0);
NUMBER(GPUBUF_SYNC_NEWEST_WINS, 4);
NUMBER(GPUBUF_ACCESS_READ, 1);
NUMBER(GPUBUF_ACCESS_WRITE, 2);
NUMBER(GPUBUF_BUDGET_AUTO, UINT64_MAX);
NUMBER(GPUBUF_OVER_BUDGET_FAIL, 0);
NUMBER(GPUBUF_OVER_BUDGET_WAIT, 1);
NUMBER(GPUBUF_OVER_BUDGET_PAGEABLE, 2);
NUMBER(GPUBUF_PINNED_NOTICE_REFUSED, 1);
NUMBER(GPUBUF_PINNED_NOTICE_PAGEABLE, 3);
NUMBER(GPUBUF_SHORTAGE_BUDGET, 1);
NUMBER(GPUBUF_SHORTAGE_MEMORY, 2);
NUMBER(GPUBUF_SLOT_REQUIRED, 0);
NUMBER(GPUBUF_SLOT_KEPT, 1);
NUMBER(GPUBUF_ENTRY_FREE, 0);
NUMBER(GPUBUF_ENTRY_ALLOCATED, 1);
NUMBER(GPUBUF_ENTRY_STAGED, 2);
NUMBER(GPUBUF_ENTRY_IN_USE, 3);
NUMBER(GPUBUF_MAX_RANK, 8);
NUMBER(GPUBUF_METHOD_MOST_COMMON, 0);
NUMBER(GPUBUF_METHOD_BLEND, 3);
NUMBER(GPUBUF_MAX_PREDICTED, 8);
NUMBER(GPUBUF_HOST_ANY, 0);
NUMBER(GPUBUF_HOST_AT_SUBMISSION, 0);
NUMBER(GPUBUF_HOST_AT_EXECUTION, 1);

SIZE(gpubuf_status, 4);
SIZE(gpubuf_device_options, 80);
AT(gpubuf_device_options, backend, 4);
AT(gpubuf_device_options, ordinal, 8);
AT(gpubuf_device_options, default_timeout_ns, 16);
AT(gpubuf_device_options, label, 24);
AT(gpubuf_device_options, native_context, 32);
AT(gpubuf_device_options, register_bytes, 40);
AT(gpubuf_device_options, device_memory, 52);
AT(gpubuf_device_options, upkeep_interval_ns, 56);
AT(gpubuf_device_options, name, 64);
AT(gpubuf_device_options, probe, 72);
SIZE(gpubuf_device_info, 48);
AT(gpubuf_device_info, numa_node, 16);
AT(gpubuf_device_info, native_context, 40);
SIZE(gpubuf_device_stats, 320);
AT(gpubuf_device_stats, host_bytes, 8);
AT(gpubuf_device_stats, deferred_bytes, 40);
AT(gpubuf_device_stats, copies, 72);
AT(gpubuf_device_stats, host_wait_ns, 112);
AT(gpubuf_device_stats, refusals, 144);
AT(gpubuf_device_stats, stale_handles, 184);
AT(gpubuf_device_stats, host_peak_bytes, 192);
AT(gpubuf_device_stats, host_total_bytes, 224);
AT(gpubuf_device_stats, allocations, 256);
AT(gpubuf_device_stats, fallbacks_node, 304);
SIZE(gpubuf_device_summary, 216);
AT(gpubuf_device_summary, ordinal, 8);
AT(gpubuf_device_summary, memory_bytes, 32);
AT(gpubuf_device_summary, uuid, 40);
AT(gpubuf_device_summary, bus_id, 56);
AT(gpubuf_device_summary, name, 88);
SIZE(gpubuf_capabilities, 136);
AT(gpubuf_capabilities, sees_host_writes, 8);
AT(gpubuf_capabilities, huge_pages, 36);
AT(gpubuf_capabilities, device_numa_node, 40);
AT(gpubuf_capabilities, page_bytes, 48);
AT(gpubuf_capabilities, cgroup_limit_bytes, 96);
AT(gpubuf_capabilities, memlock_used_bytes, 128);
SIZE(gpubuf_buffer_options, 144);
AT(gpubuf_buffer_options, dtype, 4);
AT(gpubuf_buffer_options, rank, 8);
AT(gpubuf_buffer_options, host_placement, 12);
AT(gpubuf_buffer_options, device_placement, 16);
AT(gpubuf_buffer_options, shape, 24);
AT(gpubuf_buffer_options, label, 88);
AT(gpubuf_buffer_options, host_memory, 96);
AT(gpubuf_buffer_options, device_memory, 104);
AT(gpubuf_buffer_options, release, 112);
AT(gpubuf_buffer_options, release_user_data, 120);
AT(gpubuf_buffer_options, capacity, 128);
AT(gpubuf_buffer_options, timed, 140);
SIZE(gpubuf_buffer_info, 208);
AT(gpubuf_buffer_info, stands_in, 200);
AT(gpubuf_buffer_info, borrowed, 20);
AT(gpubuf_buffer_info, shape, 24);
AT(gpubuf_buffer_info, count, 88);
AT(gpubuf_buffer_info, device_bytes, 104);
AT(gpubuf_buffer_info, strides, 112);
AT(gpubuf_buffer_info, capacity, 176);
AT(gpubuf_buffer_info, is_view, 192);
SIZE(gpubuf_dirty_range, 32);
AT(gpubuf_dirty_range, stride, 24);
SIZE(gpubuf_buffer_stats, 152);
AT(gpubuf_buffer_stats, to_device_copies, 8);
AT(gpubuf_buffer_stats, failures, 96);
AT(gpubuf_buffer_stats, timeouts, 144);
SIZE(gpubuf_piece, 16);
AT(gpubuf_piece, count, 8);
SIZE(gpubuf_pool_options, 88);
AT(gpubuf_pool_options, timed, 80);
SIZE(gpubuf_block_stats, 112);
AT(gpubuf_block_stats, device_newer_bytes, 104);
AT(gpubuf_pool_options, placement, 4);
AT(gpubuf_pool_options, block_bytes, 8);
AT(gpubuf_pool_options, block_count, 16);
AT(gpubuf_pool_options, device_side, 20);
AT(gpubuf_pool_options, label, 24);
AT(gpubuf_pool_options, strategy, 32);
AT(gpubuf_pool_options, cool_down_ns, 56);
AT(gpubuf_pool_options, give_back_user_data, 72);
SIZE(gpubuf_pool_stats, 152);
AT(gpubuf_pool_stats, free_blocks, 8);
AT(gpubuf_pool_stats, waiters, 20);
AT(gpubuf_pool_stats, block_bytes, 24);
AT(gpubuf_pool_stats, fence_wait_ns, 88);
AT(gpubuf_pool_stats, contended_acquires, 96);
AT(gpubuf_pool_stats, peak_blocks, 136);
SIZE(gpubuf_pool_block, 32);
AT(gpubuf_pool_block, last_use_ns, 24);
SIZE(gpubuf_block_options, 32);
AT(gpubuf_block_options, label, 24);
SIZE(gpubuf_block_info, 32);
AT(gpubuf_block_info, index, 4);
AT(gpubuf_block_info, bytes, 8);
AT(gpubuf_block_info, device_side, 20);
SIZE(gpubuf_pinned_options, 88);
AT(gpubuf_pinned_options, budget_bytes, 8);
AT(gpubuf_pinned_options, keep_bytes, 32);
AT(gpubuf_pinned_options, huge_pages, 40);
AT(gpubuf_pinned_options, notify, 48);
AT(gpubuf_pinned_options, out_of_memory, 64);
AT(gpubuf_pinned_options, label, 80);
SIZE(gpubuf_pinned_request, 120);
AT(gpubuf_pinned_request, over_budget, 4);
AT(gpubuf_pinned_request, bytes, 8);
AT(gpubuf_pinned_request, shape, 24);
AT(gpubuf_pinned_request, rank, 88);
AT(gpubuf_pinned_request, owner, 96);
AT(gpubuf_pinned_request, device_side, 116);
SIZE(gpubuf_pinned_stats, 248);
AT(gpubuf_pinned_stats, budget_bytes, 8);
AT(gpubuf_pinned_stats, available_bytes, 48);
AT(gpubuf_pinned_stats, blocks, 128);
AT(gpubuf_pinned_stats, slabs_freed, 240);
SIZE(gpubuf_pinned_share, 48);
AT(gpubuf_pinned_share, blocks, 40);
SIZE(gpubuf_slots_options, 40);
AT(gpubuf_slots_options, depth, 4);
AT(gpubuf_slots_options, read_back_depth, 8);
AT(gpubuf_slots_options, read_back_bytes, 16);
AT(gpubuf_slots_options, gap_bytes, 24);
AT(gpubuf_slots_options, label, 32);
SIZE(gpubuf_slot_options, 104);
AT(gpubuf_slot_options, kind, 12);
AT(gpubuf_slot_options, own_copy, 16);
AT(gpubuf_slot_options, shape, 24);
AT(gpubuf_slot_options, pad_value, 88);
AT(gpubuf_slot_options, name, 96);
SIZE(gpubuf_slot_info, 56);
AT(gpubuf_slot_info, own_copy, 12);
AT(gpubuf_slot_info, rows, 16);
AT(gpubuf_slot_info, device_address, 48);
SIZE(gpubuf_slots_stats, 160);
AT(gpubuf_slots_stats, depth, 4);
AT(gpubuf_slots_stats, arena_bytes, 8);
AT(gpubuf_slots_stats, copies, 56);
AT(gpubuf_slots_stats, read_backs, 144);
AT(gpubuf_slots_stats, quarantined_entries, 156);
SIZE(gpubuf_decode_options, 72);
AT(gpubuf_decode_options, max_batch, 16);
AT(gpubuf_decode_options, block_size, 40);
AT(gpubuf_decode_options, label, 64);
SIZE(gpubuf_spec, 88);
AT(gpubuf_spec, dtype, 4);
AT(gpubuf_spec, rank, 8);
AT(gpubuf_spec, host_placement, 12);
AT(gpubuf_spec, device_placement, 16);
AT(gpubuf_spec, shape, 24);
SIZE(gpubuf_workspace_options, 24);
AT(gpubuf_workspace_options, max_entries, 4);
AT(gpubuf_workspace_options, max_bytes, 8);
AT(gpubuf_workspace_options, label, 16);
SIZE(gpubuf_workspace_stats, 144);
AT(gpubuf_workspace_stats, entries, 8);
AT(gpubuf_workspace_stats, bytes, 40);
AT(gpubuf_workspace_stats, found, 72);
AT(gpubuf_workspace_stats, refused, 112);
AT(gpubuf_workspace_stats, timeouts, 136);
SIZE(gpubuf_workspace_entry, 56);
AT(gpubuf_workspace_entry, state, 4);
AT(gpubuf_workspace_entry, name, 8);
AT(gpubuf_workspace_entry, spec, 16);
AT(gpubuf_workspace_entry, last_use, 48);
SIZE(gpubuf_tensor_options, 88);
AT(gpubuf_tensor_options, dtype, 4);
AT(gpubuf_tensor_options, rank, 8);
AT(gpubuf_tensor_options, max_blocks, 12);
AT(gpubuf_tensor_options, shape, 16);
AT(gpubuf_tensor_options, label, 80);
SIZE(gpubuf_tensor_info, 96);
AT(gpubuf_tensor_info, max_blocks, 12);
AT(gpubuf_tensor_info, shape, 16);
AT(gpubuf_tensor_info, bytes, 88);
SIZE(gpubuf_tensor_stats, 72);
AT(gpubuf_tensor_stats, held_blocks, 4);
AT(gpubuf_tensor_stats, publishes, 8);
AT(gpubuf_tensor_stats, read_bytes, 40);
AT(gpubuf_tensor_stats, timeouts, 64);
SIZE(gpubuf_predictor_options, 32);
AT(gpubuf_predictor_options, method, 4);
AT(gpubuf_predictor_options, steps_in_flight, 20);
AT(gpubuf_predictor_options, label, 24);
SIZE(gpubuf_predictor_stats, 88);
AT(gpubuf_predictor_stats, believed, 4);
AT(gpubuf_predictor_stats, hits, 24);
AT(gpubuf_predictor_stats, waste_bytes, 48);
AT(gpubuf_predictor_stats, evictions, 80);

static int failed;

static void expect(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "FAILED: %s\n", what);
    failed = 1;
  }
}

/* The library must see the same sizes: it refuses one byte less, and fills in its defaults for exactly this much. */
#define INIT(type, init)                                                        \
  do {                                                                          \
    type options, before;                                                       \
    memset(&options, 0x5a, sizeof options);                                     \
    memcpy(&before, &options, sizeof options);                                  \
    init(&options, (uint32_t)sizeof options - 1);                               \
    expect(memcmp(&before, &options, sizeof options) == 0, #init " too small"); \
    init(&options, (uint32_t)sizeof options);                                   \
    expect(options.struct_size == sizeof options, #init);                       \
  } while (0)

int main(void) {
  gpubuf_device *device = NULL;
  expect(gpubuf_version_number() == GPUBUF_VERSION_NUMBER, "version");
  INIT(gpubuf_device_options, gpubuf_device_options_init);
  INIT(gpubuf_pinned_options, gpubuf_pinned_options_init);
  INIT(gpubuf_pinned_request, gpubuf_pinned_request_init);
  INIT(gpubuf_buffer_options, gpubuf_buffer_options_init);
  INIT(gpubuf_pool_options, gpubuf_pool_options_init);
  INIT(gpubuf_slots_options, gpubuf_slots_options_init);
  INIT(gpubuf_slot_options, gpubuf_slot_options_init);
  INIT(gpubuf_decode_options, gpubuf_decode_options_init);
  INIT(gpubuf_spec, gpubuf_spec_init);
  INIT(gpubuf_workspace_options, gpubuf_workspace_options_init);
  INIT(gpubuf_tensor_options, gpubuf_tensor_options_init);
  INIT(gpubuf_predictor_options, gpubuf_predictor_options_init);
  expect(gpubuf_device_open(NULL, &device) == GPUBUF_OK, "gpubuf_device_open");
  expect(gpubuf_device_destroy(device) == GPUBUF_OK, "gpubuf_device_destroy");
  return failed;
}
