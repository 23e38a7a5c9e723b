// What the library answers when it is called wrongly: names, messages, NULL, unknown numbers, struct sizes.
#include "support.hpp"

#include <cstring>
#include <functional>
#include <map>
#include <thread>

using gpubuf::no_throw;

TEST(Statuses, EachHasTheNameOfItsConstant) {
  const std::map<gpubuf_status, std::string> names = {
      {GPUBUF_OK, "GPUBUF_OK"},
      {GPUBUF_INVALID_ARGUMENT, "GPUBUF_INVALID_ARGUMENT"},
      {GPUBUF_OVERFLOW, "GPUBUF_OVERFLOW"},
      {GPUBUF_STALE_HANDLE, "GPUBUF_STALE_HANDLE"},
      {GPUBUF_WRONG_KIND, "GPUBUF_WRONG_KIND"},
      {GPUBUF_WRONG_DEVICE, "GPUBUF_WRONG_DEVICE"},
      {GPUBUF_VERSION_MISMATCH, "GPUBUF_VERSION_MISMATCH"},
      {GPUBUF_NOT_FOUND, "GPUBUF_NOT_FOUND"},
      {GPUBUF_EXISTS, "GPUBUF_EXISTS"},
      {GPUBUF_FROZEN, "GPUBUF_FROZEN"},
      {GPUBUF_UNFENCED, "GPUBUF_UNFENCED"},
      {GPUBUF_NOT_RETIRED, "GPUBUF_NOT_RETIRED"},
      {GPUBUF_NOT_BEGUN, "GPUBUF_NOT_BEGUN"},
      {GPUBUF_NOT_HELD, "GPUBUF_NOT_HELD"},
      {GPUBUF_SLOT_UNWRITTEN, "GPUBUF_SLOT_UNWRITTEN"},
      {GPUBUF_GRAPH_HELD, "GPUBUF_GRAPH_HELD"},
      {GPUBUF_EXHAUSTED, "GPUBUF_EXHAUSTED"},
      {GPUBUF_BUSY, "GPUBUF_BUSY"},
      {GPUBUF_TIMEOUT, "GPUBUF_TIMEOUT"},
      {GPUBUF_WOULD_DEADLOCK, "GPUBUF_WOULD_DEADLOCK"},
      {GPUBUF_CONFLICT, "GPUBUF_CONFLICT"},
      {GPUBUF_BUDGET, "GPUBUF_BUDGET"},
      {GPUBUF_OUT_OF_HOST_MEMORY, "GPUBUF_OUT_OF_HOST_MEMORY"},
      {GPUBUF_OUT_OF_DEVICE_MEMORY, "GPUBUF_OUT_OF_DEVICE_MEMORY"},
      {GPUBUF_UNSUPPORTED, "GPUBUF_UNSUPPORTED"},
      {GPUBUF_CAPTURING, "GPUBUF_CAPTURING"},
      {GPUBUF_DRIVER_MISSING, "GPUBUF_DRIVER_MISSING"},
      {GPUBUF_DEVICE_LOST, "GPUBUF_DEVICE_LOST"},
      {GPUBUF_COPY_FAILED, "GPUBUF_COPY_FAILED"},
      {GPUBUF_QUARANTINED, "GPUBUF_QUARANTINED"},
      {GPUBUF_SHUT_DOWN, "GPUBUF_SHUT_DOWN"},
      {GPUBUF_FORKED, "GPUBUF_FORKED"},
      {GPUBUF_BROKEN, "GPUBUF_BROKEN"},
      {GPUBUF_INTERNAL, "GPUBUF_INTERNAL"},
  };
  for (const auto& [status, name] : names) EXPECT_EQ(name, gpubuf_status_name(status));
}

TEST(Statuses, UnknownNumbersHaveANameToo) {
  for (const gpubuf_status status : {-1, 1, 99, 207, 904, INT32_MAX, INT32_MIN}) EXPECT_STREQ("GPUBUF_UNKNOWN_STATUS", gpubuf_status_name(status));
}

TEST(Version, HeaderAndLibraryAgree) {
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_VERSION_NUMBER), gpubuf_version_number());
  const std::string version = std::to_string(GPUBUF_VERSION_MAJOR) + "." + std::to_string(GPUBUF_VERSION_MINOR) + "." + std::to_string(GPUBUF_VERSION_PATCH);
  EXPECT_EQ(version, gpubuf::version_string());
  EXPECT_EQ(GPUBUF_VERSION_MAJOR * 1000000 + GPUBUF_VERSION_MINOR * 1000 + GPUBUF_VERSION_PATCH, GPUBUF_VERSION_NUMBER);
}

// ---- The message ------------------------------------------------------------------------------------------------

TEST(Message, SaysWhatWasWrong) {
  gpubuf_device_options options;
  gpubuf_device_options_init(&options, sizeof options);
  options.backend = 77;
  gpubuf_device* device = nullptr;
  ASSERT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&options, &device));
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("77")) << gpubuf::last_error_message();
}

TEST(Message, IsCutToTheCallersMemoryAndAlwaysEnded) {
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(nullptr, nullptr));
  const std::size_t length = gpubuf_last_error_message(nullptr, 0);
  ASSERT_GT(length, 3u);
  char cut[4] = {'x', 'x', 'x', 'x'};
  EXPECT_EQ(length, gpubuf_last_error_message(cut, sizeof cut));
  EXPECT_EQ('\0', cut[3]);
  EXPECT_EQ(3u, std::strlen(cut));
  std::vector<char> whole(length + 1, 'x');
  EXPECT_EQ(length, gpubuf_last_error_message(whole.data(), whole.size()));
  EXPECT_EQ(length, std::strlen(whole.data()));
  EXPECT_EQ(0, std::strncmp(cut, whole.data(), 3));
}

TEST(Message, BelongsToItsThread) {
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(nullptr, nullptr));
  const std::string mine = gpubuf::last_error_message();
  std::thread([&] {
    EXPECT_EQ("", gpubuf::last_error_message());
    std::uint32_t count = 0;
    EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_device_count(77, &count));
    EXPECT_NE(mine, gpubuf::last_error_message());
  }).join();
  EXPECT_EQ(mine, gpubuf::last_error_message());
}

TEST(Message, BecomesWhatAnExceptionSays) {
  try {
    gpubuf::device::open(static_cast<gpubuf::backend>(77));
    FAIL() << "threw nothing";
  } catch (const gpubuf::error& e) {
    EXPECT_EQ(gpubuf::status::invalid_argument, e.status());
    EXPECT_EQ("GPUBUF_INVALID_ARGUMENT: " + gpubuf::last_error_message(), e.what());
  }
}

// ---- NULL -------------------------------------------------------------------------------------------------------

TEST(Null, EveryFunctionRefusesANullObject) {
  const void* read = nullptr;
  void* write = nullptr;
  std::uint64_t number = 0;
  std::uint32_t small = 0;
  gpubuf_stream* stream = nullptr;
  gpubuf_event* event = nullptr;
  gpubuf_buffer* buffer = nullptr;
  gpubuf_pool* pool = nullptr;
  gpubuf_block* block = nullptr;
  gpubuf_slots* slots = nullptr;
  gpubuf_step* step = nullptr;
  auto device_stats = gpubuf::detail::sized<gpubuf_device_stats>();
  auto buffer_info = gpubuf::detail::sized<gpubuf_buffer_info>();
  auto pool_stats = gpubuf::detail::sized<gpubuf_pool_stats>();
  auto block_info = gpubuf::detail::sized<gpubuf_block_info>();
  auto slot_info = gpubuf::detail::sized<gpubuf_slot_info>();
  auto slots_stats = gpubuf::detail::sized<gpubuf_slots_stats>();
  const gpubuf::buffer_options buffer_options;
  const gpubuf::pool_options pool_options;
  const gpubuf::slots_options slots_options;
  const gpubuf::slot_options slot_options;
  const gpubuf::decode_options decode_options;
  char byte = 0;
  const gpubuf_host_fn function = [](gpubuf_host_view*, void*) {};
#define REFUSES_NULL(...) EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, __VA_ARGS__)
  REFUSES_NULL(gpubuf_describe(nullptr, &byte, 1, nullptr));
  REFUSES_NULL(gpubuf_set_label(nullptr, "x"));
  auto capabilities = gpubuf::detail::sized<gpubuf_capabilities>();
  REFUSES_NULL(gpubuf_device_probe(nullptr, GPUBUF_TIMEOUT_DEFAULT, &capabilities));
  REFUSES_NULL(gpubuf_device_capability_reason(nullptr, GPUBUF_CAPABILITY_PINNED_MEMORY, &byte, 1, nullptr));
  REFUSES_NULL(gpubuf_device_backend(nullptr, &small));
  REFUSES_NULL(gpubuf_device_backend_reason(nullptr, &byte, 1, nullptr));
  REFUSES_NULL(gpubuf_device_maintain(nullptr, nullptr));
  REFUSES_NULL(gpubuf_device_drain(nullptr, 0));
  REFUSES_NULL(gpubuf_device_synchronize(nullptr, 0));
  REFUSES_NULL(gpubuf_device_stats_get(nullptr, &device_stats));
  REFUSES_NULL(gpubuf_stream_create(nullptr, &stream));
  REFUSES_NULL(gpubuf_stream_wrap_native(nullptr, &byte, &stream));
  REFUSES_NULL(gpubuf_stream_query(nullptr));
  REFUSES_NULL(gpubuf_stream_synchronize(nullptr, 0));
  REFUSES_NULL(gpubuf_stream_wait_event(nullptr, nullptr));
  REFUSES_NULL(gpubuf_event_create(nullptr, &event));
  REFUSES_NULL(gpubuf_event_record(nullptr, nullptr));
  REFUSES_NULL(gpubuf_event_query(nullptr));
  REFUSES_NULL(gpubuf_event_wait(nullptr, 0));
  REFUSES_NULL(gpubuf_buffer_create(nullptr, &buffer_options, &buffer));
  REFUSES_NULL(gpubuf_buffer_info_get(nullptr, &buffer_info));
  REFUSES_NULL(gpubuf_buffer_host_ptr(nullptr, &read));
  REFUSES_NULL(gpubuf_buffer_host_ptr_unfenced(nullptr, &write));
  REFUSES_NULL(gpubuf_buffer_device_address(nullptr, nullptr, 0, &number));
  REFUSES_NULL(gpubuf_buffer_used_on(nullptr, nullptr, GPUBUF_ACCESS_READ));
  REFUSES_NULL(gpubuf_buffer_begin_write(nullptr, 0, 1, 0, &write, &number));
  REFUSES_NULL(gpubuf_buffer_end_write(nullptr, 1));
  REFUSES_NULL(gpubuf_buffer_begin_read(nullptr, 0, 1, 0, &read, &number));
  REFUSES_NULL(gpubuf_buffer_end_read(nullptr, 1));
  REFUSES_NULL(gpubuf_buffer_copy_in(nullptr, 0, 1, &byte, 0));
  REFUSES_NULL(gpubuf_buffer_copy_out(nullptr, 0, 1, &byte, 0));
  REFUSES_NULL(gpubuf_buffer_to_device(nullptr, 0, 1, nullptr));
  REFUSES_NULL(gpubuf_buffer_to_device_blocking(nullptr, 0, 1, nullptr, 0));
  REFUSES_NULL(gpubuf_buffer_to_host(nullptr, 0, 1, nullptr));
  REFUSES_NULL(gpubuf_buffer_to_host_blocking(nullptr, 0, 1, nullptr, 0));
  REFUSES_NULL(gpubuf_buffer_fill(nullptr, GPUBUF_SIDE_HOST, &byte, nullptr, 0));
  REFUSES_NULL(gpubuf_buffer_zero(nullptr, GPUBUF_SIDE_HOST, nullptr, 0));
  REFUSES_NULL(gpubuf_buffer_detach(nullptr, 0));
  REFUSES_NULL(gpubuf_pool_create(nullptr, &pool_options, &pool));
  REFUSES_NULL(gpubuf_pool_acquire(nullptr, 0, 0, &block));
  REFUSES_NULL(gpubuf_pool_stats_get(nullptr, &pool_stats));
  REFUSES_NULL(gpubuf_block_release_after(nullptr, nullptr, 0));
  REFUSES_NULL(gpubuf_block_release_after_many(&block, 1, nullptr, 0));
  REFUSES_NULL(gpubuf_block_fence(nullptr, nullptr, 0));
  REFUSES_NULL(gpubuf_block_declare_unread(nullptr));
  REFUSES_NULL(gpubuf_block_info_get(nullptr, &block_info));
  REFUSES_NULL(gpubuf_block_host_ptr(nullptr, &read));
  REFUSES_NULL(gpubuf_block_device_address(nullptr, &number));
  REFUSES_NULL(gpubuf_block_begin_write(nullptr, 0, 1, 0, &write, &number));
  REFUSES_NULL(gpubuf_block_end_write(nullptr, 1));
  REFUSES_NULL(gpubuf_block_begin_read(nullptr, 0, 1, 0, &read, &number));
  REFUSES_NULL(gpubuf_block_end_read(nullptr, 1));
  REFUSES_NULL(gpubuf_block_copy_in(nullptr, 0, 1, &byte, 0));
  REFUSES_NULL(gpubuf_block_copy_out(nullptr, 0, 1, &byte, 0));
  REFUSES_NULL(gpubuf_block_to_device(nullptr, 0, 1, nullptr));
  REFUSES_NULL(gpubuf_block_to_host(nullptr, 0, 1, nullptr));
  REFUSES_NULL(gpubuf_slots_create(nullptr, &slots_options, &slots));
  REFUSES_NULL(gpubuf_slots_create_decode(nullptr, &decode_options, &slots));
  REFUSES_NULL(gpubuf_slots_add(nullptr, &slot_options, &small));
  REFUSES_NULL(gpubuf_slots_freeze(nullptr));
  REFUSES_NULL(gpubuf_slots_find(nullptr, "x", &small));
  REFUSES_NULL(gpubuf_slots_slot_info(nullptr, 0, &slot_info));
  REFUSES_NULL(gpubuf_slots_begin(nullptr, 0, &step));
  REFUSES_NULL(gpubuf_step_write(nullptr, 0, 0, 1, &byte));
  REFUSES_NULL(gpubuf_step_begin_span(nullptr, 0, 0, 1, &write, &number));
  REFUSES_NULL(gpubuf_step_end_span(nullptr, 1));
  REFUSES_NULL(gpubuf_step_pad(nullptr, 0, 1));
  REFUSES_NULL(gpubuf_step_commit(nullptr, nullptr, nullptr, 0, &number));
  REFUSES_NULL(gpubuf_step_abort(nullptr));
  REFUSES_NULL(gpubuf_slots_retire(nullptr, 1, nullptr, 0));
  REFUSES_NULL(gpubuf_slots_read_back(nullptr, 1, 0, 0, 1, nullptr, &number));
  REFUSES_NULL(gpubuf_slots_read_back_buffer(nullptr, 1, nullptr, 0, 1, nullptr, &number));
  REFUSES_NULL(gpubuf_slots_begin_read(nullptr, 1, 0, &read, &number));
  REFUSES_NULL(gpubuf_slots_end_read(nullptr, 1));
  REFUSES_NULL(gpubuf_slots_stats_get(nullptr, &slots_stats));
  REFUSES_NULL(gpubuf_host_stream_hold(nullptr));
  REFUSES_NULL(gpubuf_host_stream_release(nullptr));
  REFUSES_NULL(gpubuf_host_stream_delay(nullptr, 1));
  REFUSES_NULL(gpubuf_host_stream_call(nullptr, function, nullptr));
  REFUSES_NULL(gpubuf_host_view_read(nullptr, 1, &byte, 1));
  REFUSES_NULL(gpubuf_host_view_write(nullptr, 1, &byte, 1));
  REFUSES_NULL(gpubuf_host_set_delay(nullptr, 0, 0, 0));
  REFUSES_NULL(gpubuf_host_set_link(nullptr, 0, 0));
  REFUSES_NULL(gpubuf_host_set_pageable_late(nullptr, 0));
  REFUSES_NULL(gpubuf_host_set_uva_stale(nullptr, 0));
  REFUSES_NULL(gpubuf_host_fail_operation(nullptr, GPUBUF_HOST_ANY, 1, GPUBUF_HOST_AT_SUBMISSION));
  REFUSES_NULL(gpubuf_host_count_operations(nullptr, GPUBUF_HOST_ANY, nullptr));
  REFUSES_NULL(gpubuf_host_limit_memory(nullptr, GPUBUF_PLACEMENT_PINNED, 1));
  REFUSES_NULL(gpubuf_host_lose_device(nullptr));
#undef REFUSES_NULL
}

TEST(Null, IsGivenBackLikeFreeDoesIt) {
  EXPECT_OK(gpubuf_device_destroy(nullptr));
  EXPECT_OK(gpubuf_stream_destroy(nullptr));
  EXPECT_OK(gpubuf_event_destroy(nullptr));
  EXPECT_OK(gpubuf_buffer_destroy(nullptr));
  EXPECT_OK(gpubuf_pool_destroy(nullptr));
  EXPECT_OK(gpubuf_slots_destroy(nullptr));
  EXPECT_OK(gpubuf_step_destroy(nullptr));
}

TEST(Null, OptionsInitIgnoresNullAndTooSmall) {
  gpubuf_device_options_init(nullptr, sizeof(gpubuf_device_options));
  gpubuf_device_options options;
  std::memset(&options, 0x5a, sizeof options);
  const gpubuf_device_options before = options;
  gpubuf_device_options_init(&options, 2);
  EXPECT_EQ(0, std::memcmp(&before, &options, sizeof options));
}

class Wrong : public test::Device {
 protected:
  gpubuf::buffer buffer = gpubuf::buffer::create<float>(device, {16});
  gpubuf::pool pool = gpubuf::pool::create(device, 256, 1);
  gpubuf::slots slots = gpubuf::slots::create(device);
};

TEST_F(Wrong, OutputsMustBeThere) {
  const gpubuf::buffer_options buffer_options;
  const gpubuf::pool_options pool_options;
  std::uint64_t token = 0;
  void* data = nullptr;
#define NEEDS_OUTPUT(...) EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, __VA_ARGS__)
  NEEDS_OUTPUT(gpubuf_device_count(GPUBUF_BACKEND_HOST, nullptr));
  NEEDS_OUTPUT(gpubuf_device_summary_get(GPUBUF_BACKEND_HOST, 0, nullptr));
  NEEDS_OUTPUT(gpubuf_device_probe(device.capi(), GPUBUF_TIMEOUT_DEFAULT, nullptr));
  NEEDS_OUTPUT(gpubuf_device_open(nullptr, nullptr));
  NEEDS_OUTPUT(gpubuf_device_backend(device.capi(), nullptr));
  NEEDS_OUTPUT(gpubuf_device_stats_get(device.capi(), nullptr));
  NEEDS_OUTPUT(gpubuf_stream_create(device.capi(), nullptr));
  NEEDS_OUTPUT(gpubuf_event_create(device.capi(), nullptr));
  NEEDS_OUTPUT(gpubuf_buffer_create(device.capi(), &buffer_options, nullptr));
  NEEDS_OUTPUT(gpubuf_buffer_info_get(buffer.capi(), nullptr));
  NEEDS_OUTPUT(gpubuf_buffer_host_ptr(buffer.capi(), nullptr));
  NEEDS_OUTPUT(gpubuf_buffer_device_address(buffer.capi(), nullptr, 0, nullptr));
  NEEDS_OUTPUT(gpubuf_buffer_begin_write(buffer.capi(), 0, 1, 0, nullptr, &token));
  NEEDS_OUTPUT(gpubuf_buffer_begin_write(buffer.capi(), 0, 1, 0, &data, nullptr));
  NEEDS_OUTPUT(gpubuf_pool_create(device.capi(), &pool_options, nullptr));
  NEEDS_OUTPUT(gpubuf_pool_acquire(pool.capi(), 0, 0, nullptr));
  NEEDS_OUTPUT(gpubuf_slots_begin(slots.capi(), 0, nullptr));
  NEEDS_OUTPUT(gpubuf_slots_find(slots.capi(), "x", nullptr));
#undef NEEDS_OUTPUT
  // A refused begin has left no guard open.
  EXPECT_OK(buffer.begin_write<float, no_throw>(gpubuf::no_wait));
}

TEST_F(Wrong, InputsMustBeThere) {
  gpubuf_buffer* out_buffer = nullptr;
  gpubuf_pool* out_pool = nullptr;
  gpubuf_slots* out_slots = nullptr;
  std::uint32_t slot = 0;
  std::uint64_t address = 0;
  gpubuf_stream* none[1] = {nullptr};
#define NEEDS_INPUT(...) EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, __VA_ARGS__)
  NEEDS_INPUT(gpubuf_buffer_create(device.capi(), nullptr, &out_buffer));
  NEEDS_INPUT(gpubuf_pool_create(device.capi(), nullptr, &out_pool));
  NEEDS_INPUT(gpubuf_slots_create_decode(device.capi(), nullptr, &out_slots));
  NEEDS_INPUT(gpubuf_slots_add(slots.capi(), nullptr, &slot));
  NEEDS_INPUT(gpubuf_slots_find(slots.capi(), nullptr, &slot));
  NEEDS_INPUT(gpubuf_buffer_copy_in(buffer.capi(), 0, 1, nullptr, 0));
  NEEDS_INPUT(gpubuf_buffer_copy_out(buffer.capi(), 0, 1, nullptr, 0));
  NEEDS_INPUT(gpubuf_buffer_to_device(buffer.capi(), 0, 1, nullptr));
  NEEDS_INPUT(gpubuf_buffer_fill(buffer.capi(), GPUBUF_SIDE_HOST, nullptr, nullptr, 0));
  NEEDS_INPUT(gpubuf_buffer_device_address(buffer.capi(), nullptr, 1, &address));
  NEEDS_INPUT(gpubuf_buffer_device_address(buffer.capi(), none, 1, &address));
  NEEDS_INPUT(gpubuf_host_stream_call(stream.capi(), nullptr, nullptr));
#undef NEEDS_INPUT
}

// ---- Numbers ----------------------------------------------------------------------------------------------------

TEST_F(Wrong, UnknownNumbersAreRefused) {
  std::uint32_t count = 0;
  gpubuf_buffer* out_buffer = nullptr;
  gpubuf_pool* out_pool = nullptr;
  std::uint32_t slot = 0;
  for (const std::uint32_t unknown : {3u, 99u, UINT32_MAX}) EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_device_count(unknown, &count)) << unknown;
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf::device::open<no_throw>(static_cast<gpubuf::backend>(99)));
  gpubuf::device_options wrong;
  wrong.pinned_method = 3;
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf::device::open<no_throw>(wrong));
  wrong.pinned_method = GPUBUF_PINNED_AUTO;
  wrong.device_memory = 2;
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf::device::open<no_throw>(wrong));
  wrong.device_memory = GPUBUF_DEVICE_MEMORY_PLAIN;
  wrong.backend = GPUBUF_BACKEND_HOST;
  wrong.native_context = &count;
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf::device::open<no_throw>(wrong)) << "the host backend has no contexts";

  const auto with = [&](auto change) {
    gpubuf::buffer_options options;
    options.dtype = GPUBUF_DTYPE_F32;
    options.rank = 1;
    options.shape[0] = 4;
    change(options);
    return gpubuf_buffer_create(device.capi(), &options, &out_buffer);
  };
  for (const std::uint32_t unknown : {0u, 16u, UINT32_MAX}) EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, with([&](auto& o) { o.dtype = unknown; })) << unknown;
  for (const std::uint32_t unknown : {6u, UINT32_MAX}) {
    EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, with([&](auto& o) { o.host_placement = unknown; })) << unknown;
    EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, with([&](auto& o) { o.device_placement = unknown; })) << unknown;
  }
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, with([](auto& o) { o.host_placement = GPUBUF_PLACEMENT_DEVICE; })) << "the device's is no host placement";
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, with([](auto& o) { o.device_placement = GPUBUF_PLACEMENT_MANAGED; })) << "one address: it is a host side";
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, with([](auto& o) { o.rank = GPUBUF_MAX_RANK + 1; }));
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, with([](auto& o) { o.reserved = 1; })) << "what this version does not know must be zero";
  EXPECT_STATUS(GPUBUF_OVERFLOW, with([](auto& o) {
                  o.rank = 2;
                  o.shape[0] = o.shape[1] = std::uint64_t{1} << 40;
                }));

  for (const std::uint32_t unknown : {0u, 4u, UINT32_MAX}) {
    EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_zero(buffer.capi(), unknown, stream.capi(), 0)) << unknown;
    EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_used_on(buffer.capi(), stream.capi(), unknown)) << unknown;
  }

  gpubuf::pool_options pool_options;
  pool_options.block_bytes = 64;
  pool_options.block_count = 1;
  for (const int unknown : {GPUBUF_PLACEMENT_PAGEABLE, GPUBUF_PLACEMENT_DEVICE, 99}) {
    pool_options.placement = static_cast<std::uint32_t>(unknown);
    EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_pool_create(device.capi(), &pool_options, &out_pool)) << unknown;
  }

  gpubuf::slot_options slot_options;
  slot_options.name = "slot";
  slot_options.dtype = GPUBUF_DTYPE_I32;
  slot_options.rank = 1;
  slot_options.shape[0] = 4;
  slot_options.kind = 3;
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_slots_add(slots.capi(), &slot_options, &slot));
  slot_options.kind = GPUBUF_SLOT_REQUIRED;
  slot_options.dtype = 0;
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_slots_add(slots.capi(), &slot_options, &slot));

  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_host_fail_operation(device.capi(), 12, 1, GPUBUF_HOST_AT_SUBMISSION));
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_host_fail_operation(device.capi(), GPUBUF_HOST_EVENT, 1, GPUBUF_HOST_AT_EXECUTION));
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_host_fail_operation(device.capi(), GPUBUF_HOST_ANY, 1, 3));
  std::uint64_t operations = 0;
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_host_count_operations(device.capi(), 12, &operations));
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_host_limit_memory(device.capi(), 99, 1));
}

TEST(Dtypes, HaveTheSizesTheySay) {
  using gpubuf::dtype;
  for (const dtype one : {dtype::boolean, dtype::i8, dtype::u8, dtype::f8_e4m3, dtype::f8_e5m2}) EXPECT_EQ(1u, gpubuf::dtype_size(one));
  for (const dtype two : {dtype::i16, dtype::u16, dtype::f16, dtype::bf16}) EXPECT_EQ(2u, gpubuf::dtype_size(two));
  for (const dtype four : {dtype::i32, dtype::u32, dtype::f32}) EXPECT_EQ(4u, gpubuf::dtype_size(four));
  for (const dtype eight : {dtype::i64, dtype::u64, dtype::f64}) EXPECT_EQ(8u, gpubuf::dtype_size(eight));
  for (const std::uint32_t unknown : {0u, 16u, UINT32_MAX}) EXPECT_EQ(0u, gpubuf_dtype_size(unknown));
}

// ---- Struct sizes -----------------------------------------------------------------------------------------------

// A later version's struct: longer than the one this library knows.
struct later_device_options {
  gpubuf_device_options known;
  std::uint64_t news;
};

TEST(StructSize, MustBeSet) {
  gpubuf::device_options options;
  gpubuf_device* device = nullptr;
  for (const std::uint32_t unset : {0u, 4u, UINT32_MAX}) {
    options.struct_size = unset;
    EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_device_open(&options, &device)) << unset;
  }
}

TEST(StructSize, LayoutsOlderThanTheFirstOneAreRefused) {
  gpubuf::device_options options;
  gpubuf_device* device = nullptr;
  options.struct_size -= 8;
  EXPECT_STATUS(GPUBUF_VERSION_MISMATCH, gpubuf_device_open(&options, &device));
}

TEST(StructSize, LaterLayoutsAreFineWhileTheyAskForNothingNew) {
  later_device_options options{};
  gpubuf_device_options_init(&options.known, sizeof options);
  EXPECT_EQ(sizeof options, options.known.struct_size);
  options.known.backend = static_cast<std::uint32_t>(test::backend());
  gpubuf_device* device = nullptr;
  ASSERT_OK(gpubuf_device_open(&options.known, &device));
  EXPECT_OK(gpubuf_device_destroy(device));
  options.news = 1;
  EXPECT_STATUS(GPUBUF_VERSION_MISMATCH, gpubuf_device_open(&options.known, &device));
}

TEST_F(Wrong, StatsAndInfosMustSayTheirSize) {
  gpubuf_device_stats device_stats{};
  gpubuf_buffer_info buffer_info{};
  gpubuf_pool_stats pool_stats{};
  gpubuf_slots_stats slots_stats{};
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_device_stats_get(device.capi(), &device_stats));
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_info_get(buffer.capi(), &buffer_info));
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_pool_stats_get(pool.capi(), &pool_stats));
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_slots_stats_get(slots.capi(), &slots_stats));
}

TEST_F(Wrong, AndAreWrittenNoFurther) {
  gpubuf_buffer_info info;
  std::memset(&info, 0x5a, sizeof info);
  info.struct_size = offsetof(gpubuf_buffer_info, rank);
  ASSERT_OK(gpubuf_buffer_info_get(buffer.capi(), &info));
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_DTYPE_F32), info.dtype);
  EXPECT_EQ(0x5a5a5a5au, info.rank);

  // A later version's struct: what this library does not know stays as it is.
  struct {
    gpubuf_buffer_info known;
    std::uint64_t news;
  } later{};
  later.known.struct_size = sizeof later;
  later.news = 7;
  ASSERT_OK(gpubuf_buffer_info_get(buffer.capi(), &later.known));
  EXPECT_EQ(16u, later.known.count);
  EXPECT_EQ(7u, later.news);
  EXPECT_EQ(sizeof(gpubuf_buffer_info), later.known.struct_size) << "as much as was written";
}

// ---- Labels -----------------------------------------------------------------------------------------------------

TEST_F(Wrong, MessagesNameTheObject) {
  gpubuf::set_label(buffer, "logits");
  EXPECT_NE(std::string::npos, gpubuf::describe(buffer).find("logits")) << gpubuf::describe(buffer);
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, buffer.to_device<no_throw>(stream, 17, 1));
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("logits")) << gpubuf::last_error_message();
  EXPECT_OK(gpubuf_set_label(buffer.capi(), nullptr));
  EXPECT_EQ(std::string::npos, gpubuf::describe(buffer).find("logits")) << "no label any more";
}

TEST_F(Wrong, DescribeFillsWhatTheCallerHas) {
  std::size_t length = 0;
  ASSERT_OK(gpubuf_describe(pool.capi(), nullptr, 0, &length));
  std::vector<char> text(length + 1);
  ASSERT_OK(gpubuf_describe(pool.capi(), text.data(), text.size(), nullptr));
  EXPECT_EQ(length, std::strlen(text.data()));
  char cut[3];
  ASSERT_OK(gpubuf_describe(pool.capi(), cut, sizeof cut, &length));
  EXPECT_EQ(2u, std::strlen(cut));
  EXPECT_EQ(std::strlen(text.data()), length);
}
