// gpubuf_shutdown ends the library for the whole process; hence a program of its own, and one test.
#include "support.hpp"

#include <atomic>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::status;

TEST(Shutdown, EndsEverything) {
  auto device = gpubuf::device::open(test::backend());
  auto stream = gpubuf::stream::create(device);
  auto event = gpubuf::event::create(device);
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  auto pool = gpubuf::pool::create(device, 64, 1);
  auto block = pool.acquire();
  auto pinned = gpubuf::pinned::create(device, 1 << 20);
  auto small = pinned.allocate(100);
  auto reserved = pinned.reserve(100);
  auto slots = gpubuf::slots::create(device);
  const auto slot = slots.add<float>("x", {4});
  slots.freeze();
  auto filling = slots.begin();
  auto committed = slots.begin();
  committed.write(slot, {1});
  committed.commit(stream);
  auto guard = buffer.begin_read<float>();
  std::vector<float> memory(4);
  std::atomic<int> released{0};
  auto borrowed = gpubuf::borrowed_buffer::over<float>(device, memory, [&] { ++released; });
  borrowed.to_device(stream);
  borrowed.reset();

  EXPECT_OK(gpubuf::shutdown<no_throw>());
  EXPECT_EQ(1, released) << "what was in use is done";
  EXPECT_OK(gpubuf::shutdown<no_throw>()) << "twice is fine";
  EXPECT_OK(gpubuf::shutdown<no_throw>(no_wait));

  // Every call says so.
  EXPECT_STATUS(status::shut_down, gpubuf::device::open<no_throw>(test::backend()));
  EXPECT_STATUS(status::shut_down, gpubuf::stream::create<no_throw>(device));
  EXPECT_STATUS(status::shut_down, device.synchronize<no_throw>(no_wait));
  EXPECT_STATUS(status::shut_down, stream.synchronize<no_throw>(no_wait));
  EXPECT_STATUS(status::shut_down, event.record<no_throw>(stream));
  EXPECT_STATUS(status::shut_down, buffer.to_device<no_throw>(stream));
  EXPECT_STATUS(status::shut_down, pool.acquire<no_throw>());
  EXPECT_STATUS(status::shut_down, block.copy_in<no_throw>(memory));
  EXPECT_STATUS(status::shut_down, pinned.allocate<no_throw>(1));
  EXPECT_STATUS(status::shut_down, pinned.free<no_throw>(small));
  EXPECT_STATUS(status::shut_down, reserved.commit<no_throw>(1));
  EXPECT_STATUS(status::shut_down, slots.begin<no_throw>());
  EXPECT_STATUS(status::shut_down, filling.write<no_throw>(slot, {1}));
  EXPECT_ERROR(status::shut_down, buffer.begin_write<float>());
  EXPECT_FALSE(gpubuf::last_error_message().empty());

  // What needs no device still works.
  EXPECT_STREQ("GPUBUF_BUSY", gpubuf_status_name(GPUBUF_BUSY));
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_VERSION_NUMBER), gpubuf_version_number());
  EXPECT_EQ(4u, gpubuf_dtype_size(GPUBUF_DTYPE_F32));
  std::vector<int> padded{5, 5, 5};
  EXPECT_EQ(3u, gpubuf::ops::pad_in_place(padded, {2}, 0, 3, 1));
  EXPECT_EQ((std::vector<int>{5, 5, 1}), padded);
  EXPECT_STATUS(status::invalid_argument, gpubuf::ops::pad_in_place<gpubuf::no_throw>(padded, {2}, 1, 3, 1)) << "and says what is wrong";

  // And every end is harmless, in any order.
  EXPECT_OK(gpubuf_device_destroy(device.release()));
  EXPECT_OK(gpubuf_buffer_destroy(buffer.release()));
  EXPECT_OK(gpubuf_step_destroy(committed.release()));
  EXPECT_OK(gpubuf_step_destroy(filling.release()));
  EXPECT_OK(gpubuf_slots_destroy(slots.release()));
  EXPECT_OK(gpubuf_stream_destroy(stream.release()));
  EXPECT_OK(gpubuf_pinned_destroy(pinned.release()));
}  // The guard, the blocks, the reservation, the pool and the event end here.
