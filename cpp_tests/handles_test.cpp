// Handles are checked: given back twice, used after their end, of the wrong kind, or never ours.
#include "support.hpp"

#include <atomic>
#include <thread>

using gpubuf::no_throw;
using gpubuf::no_wait;

class Handles : public test::Device {};

TEST_F(Handles, ASecondDestroyIsStale) {
  gpubuf_event* event = gpubuf::event::create(device).release();
  EXPECT_OK(gpubuf_event_destroy(event));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_event_destroy(event));
  gpubuf_buffer* buffer = gpubuf::buffer::create<float>(device, {4}).release();
  EXPECT_OK(gpubuf_buffer_destroy(buffer));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_buffer_destroy(buffer));
  gpubuf_pool* pool = gpubuf::pool::create(device, 64, 1).release();
  EXPECT_OK(gpubuf_pool_destroy(pool));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_pool_destroy(pool));
  gpubuf_slots* slots = gpubuf::slots::create(device).release();
  EXPECT_OK(gpubuf_slots_destroy(slots));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_slots_destroy(slots));
  gpubuf_stream* other = gpubuf::stream::create(device).release();
  EXPECT_OK(gpubuf_stream_destroy(other));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_stream_destroy(other));
  gpubuf_device* second = gpubuf::device::open(test::backend()).release();
  EXPECT_OK(gpubuf_device_destroy(second));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_device_destroy(second));
}

TEST_F(Handles, AHandleIsStaleAfterItsEnd) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  gpubuf_buffer* old = buffer.capi();
  buffer.reset();
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_buffer_to_device(old, 0, 4, stream.capi()));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_set_label(old, "late"));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_describe(old, nullptr, 0, nullptr));
}

TEST_F(Handles, AnotherObjectInTheOldPlaceDoesNotBringAHandleBack) {
  gpubuf_event* old = gpubuf::event::create(device).release();
  EXPECT_OK(gpubuf_event_destroy(old));
  std::vector<gpubuf::event> many;
  for (int i = 0; i < 100; ++i) many.push_back(gpubuf::event::create(device));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_event_query(old));
}

TEST_F(Handles, AReleasedBlockIsStale) {
  auto pool = gpubuf::pool::create(device, 64, 1);
  gpubuf_block* old = pool.acquire().release();
  EXPECT_OK(gpubuf_block_release(old));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_block_release(old));
  auto again = pool.acquire();
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_block_declare_unread(old)) << "it is the same block, but not the same right to it";
}

TEST_F(Handles, AHandleOfAnotherKindIsRefused) {
  const auto event = gpubuf::event::create(device);
  EXPECT_STATUS(GPUBUF_WRONG_KIND, gpubuf_stream_query(reinterpret_cast<gpubuf_stream*>(event.capi())));
  EXPECT_STATUS(GPUBUF_WRONG_KIND, gpubuf_buffer_destroy(reinterpret_cast<gpubuf_buffer*>(stream.capi())));
  EXPECT_STATUS(GPUBUF_WRONG_KIND, gpubuf_device_drain(reinterpret_cast<gpubuf_device*>(stream.capi()), 0));
  EXPECT_OK(event.is_complete<no_throw>()) << "a wrong destroy ends nothing";
  EXPECT_OK(stream.is_idle<no_throw>());
}

TEST_F(Handles, AForeignPointerIsStaleAndNeverRead) {
  int local = 0;
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_stream_query(reinterpret_cast<gpubuf_stream*>(&local)));
  for (const std::uintptr_t wild : {std::uintptr_t{1}, std::uintptr_t{0xdead}, UINTPTR_MAX, UINTPTR_MAX / 2}) {
    EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_event_query(reinterpret_cast<gpubuf_event*>(wild))) << wild;  // NOLINT
    EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_describe(reinterpret_cast<void*>(wild), nullptr, 0, nullptr)) << wild;
  }
}

TEST_F(Handles, ObjectsOfTwoDevicesDoNotMix) {
  const auto other = gpubuf::device::open(test::backend());
  auto buffer = gpubuf::buffer::create<float>(other, {4});
  const auto event = gpubuf::event::create(other);
  auto pool = gpubuf::pool::create(other, 64, 1);
  auto block = pool.acquire();
  EXPECT_STATUS(GPUBUF_WRONG_DEVICE, buffer.to_device<no_throw>(stream));
  EXPECT_STATUS(GPUBUF_WRONG_DEVICE, buffer.device_address<no_throw>(stream));
  EXPECT_STATUS(GPUBUF_WRONG_DEVICE, event.record<no_throw>(stream));
  EXPECT_STATUS(GPUBUF_WRONG_DEVICE, block.release_after<no_throw>(stream));
  EXPECT_TRUE(block) << "a refused release leaves the block held";
}

TEST_F(Handles, ParentsMayGoFirst) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  auto pool = gpubuf::pool::create(device, 64, 2);
  auto block = pool.acquire();
  auto slots = gpubuf::slots::create(device);
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto step = slots.begin();
  step.write(slot, {1, 2, 3, 4});

  pool.reset();
  slots.reset();
  device.reset();
  // Whatever they answer now, nothing crashes, nothing hangs, and each can be given back.
  test::any_status(gpubuf_buffer_to_device(buffer.capi(), 0, 4, stream.capi()));
  test::any_status(gpubuf_block_declare_unread(block.capi()));
  test::any_status(gpubuf_step_pad(step.capi(), 0, 4));
  EXPECT_OK(gpubuf_block_release(block.release()));
  EXPECT_OK(gpubuf_step_destroy(step.release()));
  EXPECT_OK(gpubuf_buffer_destroy(buffer.release()));
  EXPECT_OK(gpubuf_stream_destroy(stream.release()));
}

TEST_F(Handles, OfManyConcurrentDestroysOneWins) {
  for (int round = 0; round < 50; ++round) {
    gpubuf_buffer* buffer = gpubuf::buffer::create<float>(device, {64}).release();
    std::atomic<int> ready{0}, won{0}, stale{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        ++ready;
        while (ready < 4) std::this_thread::yield();
        const gpubuf_status answer = gpubuf_buffer_destroy(buffer);
        if (answer == GPUBUF_OK) ++won;
        if (answer == GPUBUF_STALE_HANDLE) ++stale;
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(1, won);
    EXPECT_EQ(3, stale);
  }
}

TEST_F(Handles, UseAndDestroyMayRace) {
  for (int round = 0; round < 50; ++round) {
    auto buffer = gpubuf::buffer::create<float>(device, {64});
    gpubuf_buffer* raw = buffer.capi();
    std::thread user([&] {
      gpubuf_status answer = GPUBUF_OK;
      while (answer == GPUBUF_OK || answer == GPUBUF_BUSY) answer = gpubuf_buffer_to_device(raw, 0, 64, stream.capi());
      EXPECT_STATUS(GPUBUF_STALE_HANDLE, answer);
    });
    buffer.reset();
    user.join();
  }
}

TEST_F(Handles, StaleOnesAreCounted) {
  const auto before = device.stats().stale_handles;
  auto event = gpubuf::event::create(device);
  gpubuf_event* old = event.capi();
  event.reset();
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_event_query(old));
  EXPECT_GE(device.stats().stale_handles, before);
}
