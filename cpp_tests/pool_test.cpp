// The pool: blocks of one size, handed out again only when their last use is over.
#include "support.hpp"

#include <array>

#include <atomic>
#include <thread>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::placement;
using gpubuf::status;

class Pools : public test::Device {
 protected:
  gpubuf::stream second = gpubuf::stream::create(device);
  gpubuf::pool pool = gpubuf::pool::create(device, 256, 2);                 // pinned, with a device side each
  gpubuf::pool in_place = gpubuf::pool::create(device, 256, 1, placement::uva);  // kernels read the block itself
};

TEST_F(Pools, BlocksAreOfOneSize) {
  const auto block = pool.acquire();
  const auto info = block.info();
  EXPECT_EQ(256u, info.bytes);
  EXPECT_EQ(1u, info.device_side);
  EXPECT_LT(info.index, 2u);
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_PLACEMENT_PINNED), info.placement);
}

TEST_F(Pools, ABlockIsHeldUntilItIsGivenBack) {
  auto one = pool.acquire();
  auto two = pool.acquire();
  EXPECT_NE(one.info().index, two.info().index);
  EXPECT_STATUS(status::busy, pool.acquire<no_throw>(no_wait));
  EXPECT_STATUS(status::timeout, pool.acquire<no_throw>(std::chrono::milliseconds(1)));
  auto stats = pool.stats();
  EXPECT_EQ(2u, stats.held_blocks);
  EXPECT_EQ(0u, stats.free_blocks);
  one.give_back();
  EXPECT_FALSE(one) << "the owner is empty";
  EXPECT_OK(pool.acquire<no_throw>(no_wait));
  stats = pool.stats();
  EXPECT_EQ(1u, stats.held_blocks) << "the one acquired last went back with its scope";
  EXPECT_EQ(3u, stats.acquires);
  EXPECT_EQ(2u, stats.releases);
}

TEST_F(Pools, BytesGoToTheDeviceSideAndBack) {
  auto block = pool.acquire();
  {
    auto values = block.begin_write<std::int32_t>();
    ASSERT_EQ(64u, values.size());
    std::iota(values.span().begin(), values.span().end(), 0);
  }
  block.to_device(stream);
  block.copy_in(std::vector<std::int32_t>(64));
  block.to_host(stream, 128, 128);
  const auto values = block.begin_read<std::int32_t>();
  EXPECT_EQ(0, values[31]);
  EXPECT_EQ(32, values[32]);
  EXPECT_EQ(63, values[63]);
}

TEST_F(Pools, RangesOutsideABlockAreRefused) {
  auto block = pool.acquire();
  EXPECT_STATUS(status::invalid_argument, block.begin_write<std::byte, no_throw>(250, 7));
  EXPECT_STATUS(status::invalid_argument, block.begin_read<std::int32_t, no_throw>(64, 1));
  EXPECT_STATUS(status::invalid_argument, block.to_device<no_throw>(stream, 257));
  EXPECT_STATUS(status::overflow, block.begin_write<std::int64_t, no_throw>(UINT64_MAX / 2, 1));
  EXPECT_EQ(1u, block.begin_read<std::int64_t>(31, gpubuf::all).size());
}

TEST_F(Pools, AWriteWaitsForTheCopyThatReads) {
  auto block = pool.acquire();
  auto shut = gpubuf::host::hold(stream);
  block.to_device(stream);
  EXPECT_STATUS(status::busy, block.begin_write<std::byte, no_throw>(no_wait));
  EXPECT_STATUS(status::busy, block.copy_in<no_throw>(std::vector<char>(4), 0, no_wait));
  shut.release();
  EXPECT_OK(block.begin_write<std::byte, no_throw>());
}

TEST_F(Pools, ABlockGoesBackWithTheUsesItHas) {
  auto one = pool.acquire();
  auto two = pool.acquire();
  auto shut = gpubuf::host::hold(stream);
  one.to_device(stream);
  one.give_back();
  EXPECT_STATUS(status::busy, pool.acquire<no_throw>(no_wait)) << "free, but its copy still reads it";
  EXPECT_STATUS(status::would_deadlock, pool.acquire<no_throw>());
  shut.release();
  EXPECT_OK(pool.acquire<no_throw>());
}

TEST_F(Pools, AProvenBlockComesBeforeOneThatIsInUse) {
  auto one = pool.acquire();
  auto two = pool.acquire();
  const auto proven = two.info().index;
  auto shut = gpubuf::host::hold(stream);
  one.to_device(stream);
  one.give_back();
  two.give_back();
  EXPECT_EQ(proven, pool.acquire(no_wait).info().index);
}

// ---- Addresses --------------------------------------------------------------------------------------------------

TEST_F(Pools, AnAddressSealsTheBlock) {
  auto block = in_place.acquire();
  block.copy_in(test::ramp<std::int32_t>(64));
  EXPECT_NE(0u, block.device_address());
  EXPECT_STATUS(status::unfenced, block.begin_write<std::byte, no_throw>());
  EXPECT_STATUS(status::unfenced, block.copy_in<no_throw>(std::vector<char>(4)));
  EXPECT_STATUS(status::unfenced, block.give_back<no_throw>());
  EXPECT_TRUE(block) << "a refused release leaves the block held";
  EXPECT_OK(block.release_after<no_throw>(stream));
  EXPECT_FALSE(block);
}

TEST_F(Pools, ABlockThatIsGivenUpSealedComesBackWithADrain) {
  auto alone = gpubuf::pool::create(device, 256, 1, placement::uva);
  std::string warned;
  gpubuf::set_log([&](gpubuf::log_level level, const char* text) { if (level == gpubuf::log_level::warn) warned += text; });
  {
    auto block = alone.acquire();
    static_cast<void>(block.device_address());
  }  // Nobody declared the reader: neither thrown nor forgotten, but given up.
  gpubuf::set_log(nullptr);
  EXPECT_NE(std::string::npos, warned.find("waits for a drain")) << warned;
  EXPECT_EQ(0u, alone.stats().held_blocks);
  EXPECT_EQ(1u, device.stats().deferred_objects) << "its memory waits for a drain";
  EXPECT_EQ(1u, device.stats().sealed_at_destroy);
  auto another = alone.acquire(no_wait);
  EXPECT_EQ(1u, alone.stats().block_count) << "made by the acquire that wanted it";
  static_cast<void>(another.device_address());
  EXPECT_STATUS(status::unfenced, another.give_back<no_throw>());
  EXPECT_OK(another.abandon<no_throw>()) << "as the destructor, and it says so";
  EXPECT_FALSE(another);
  device.drain();
  EXPECT_EQ(0u, device.stats().deferred_objects);
}

TEST_F(Pools, ABlockThatItsReleaseQuarantinesIsGone) {
  const auto three = gpubuf::pool::create(device, 256, 3);
  auto block = three.acquire();
  std::array<gpubuf::block, 2> blocks{three.acquire(), three.acquire()};
  const auto fail = [&] { gpubuf::host::fail_operation(device, gpubuf::host::operation::record, 1, gpubuf::host::when::at_submission); };
  fail();
  EXPECT_STATUS(status::quarantined, block.release_after<no_throw>(stream));
  EXPECT_FALSE(block) << "its handle has ended";
  fail();
  EXPECT_STATUS(status::quarantined, gpubuf::release_after<no_throw>(blocks, stream));
  EXPECT_TRUE(!blocks[0] && !blocks[1]);
  EXPECT_EQ(3u, three.stats().quarantined_blocks);
}

TEST_F(Pools, NoAddressWhileTheBlockIsBeingFilled) {
  auto block = in_place.acquire();
  auto guard = block.begin_write();
  EXPECT_STATUS(status::busy, block.device_address<no_throw>());
  EXPECT_STATUS(status::busy, block.give_back<no_throw>());
  guard.end();
  EXPECT_OK(block.device_address<no_throw>());
  block.declare_unread();
}

TEST_F(Pools, AFenceMakesItAQuestionOfTime) {
  auto block = in_place.acquire();
  block.copy_in(std::vector<std::int32_t>(64, 0));
  const auto at = block.device_address();
  std::vector<std::int32_t> seen(64, -1);
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::call(stream, [&, at](gpubuf::host::view& memory) { memory.read(at, seen.data(), 256); });
  block.fence({stream, second});
  EXPECT_STATUS(status::busy, block.begin_write<std::byte, no_throw>(no_wait));
  shut.release();
  block.copy_in(test::ramp<std::int32_t>(64, 1));  // Waits for the function.
  EXPECT_EQ(std::vector<std::int32_t>(64, 0), seen);
}

TEST_F(Pools, ABlockReleasedAfterItsReaderIsHandedOutAfterIt) {
  auto block = in_place.acquire();
  block.copy_in(test::ramp<std::int32_t>(64, 5));
  const auto at = block.device_address();
  std::vector<std::int32_t> seen(64);
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::call(stream, [&, at](gpubuf::host::view& memory) { memory.read(at, seen.data(), 256); });
  block.release_after(stream);
  EXPECT_STATUS(status::busy, in_place.acquire<no_throw>(no_wait));
  shut.release();
  auto again = in_place.acquire();
  again.copy_in(std::vector<std::int32_t>(64));
  EXPECT_EQ(test::ramp<std::int32_t>(64, 5), seen);
}

TEST_F(Pools, EveryStreamThatIsNamedCounts) {
  auto block = in_place.acquire();
  static_cast<void>(block.device_address());
  auto shut = gpubuf::host::hold(second);
  block.release_after({stream, second});
  stream.synchronize();
  EXPECT_STATUS(status::busy, in_place.acquire<no_throw>(no_wait)) << "the second stream has not come there";
  shut.release();
  EXPECT_OK(in_place.acquire<no_throw>());
}

TEST_F(Pools, AFenceNamesAtLeastOneStream) {
  auto block = in_place.acquire();
  static_cast<void>(block.device_address());
  EXPECT_STATUS(status::invalid_argument, block.fence<no_throw>({}));
  EXPECT_STATUS(status::invalid_argument, block.release_after<no_throw>({}));
  const std::vector<gpubuf::stream> nine = [&] {
    std::vector<gpubuf::stream> streams;
    for (int i = 0; i < 9; ++i) streams.push_back(gpubuf::stream::create(device));
    return streams;
  }();
  EXPECT_STATUS(status::invalid_argument, block.fence<no_throw>(nine)) << "eight at most";
  block.declare_unread();
}

TEST_F(Pools, TheCallersWordOpensABlockToo) {
  auto block = in_place.acquire();
  static_cast<void>(block.device_address());
  block.declare_unread();
  EXPECT_OK(block.begin_write<std::byte, no_throw>(no_wait));
  EXPECT_OK(block.give_back<no_throw>());
}

// ---- Many blocks ------------------------------------------------------------------------------------------------

TEST_F(Pools, TheBlocksOfAStepGoBackTogether) {
  std::vector<gpubuf::block> blocks;
  blocks.push_back(pool.acquire());
  blocks.push_back(pool.acquire());
  const auto before = device.stats().fences_recorded;
  gpubuf::release_after(blocks, {stream, second});
  EXPECT_EQ(before + 2, device.stats().fences_recorded) << "one record per stream, not per block";
  EXPECT_FALSE(blocks[0]);
  EXPECT_FALSE(blocks[1]);
  EXPECT_EQ(0u, pool.stats().held_blocks);
}

TEST_F(Pools, AllGoBackOrNone) {
  std::vector<gpubuf::block> blocks;
  blocks.push_back(pool.acquire());
  blocks.push_back(pool.acquire());
  auto guard = blocks[1].begin_write();
  EXPECT_STATUS(status::busy, gpubuf::release_after<no_throw>(blocks, stream));
  EXPECT_TRUE(blocks[0]);
  EXPECT_TRUE(blocks[1]);
  EXPECT_EQ(2u, pool.stats().held_blocks);
  guard.end();
  EXPECT_OK(gpubuf::release_after<no_throw>(blocks, stream));
}

TEST_F(Pools, MoreThanSixtyFourBlocksAreRefusedBeforeAnyIsGone) {
  auto many = gpubuf::pool::create(device, 64, 65);
  std::vector<gpubuf::block> blocks;
  for (int i = 0; i < 65; ++i) blocks.push_back(many.acquire());
  EXPECT_STATUS(status::invalid_argument, gpubuf::release_after<no_throw>(blocks, stream));
  EXPECT_ERROR(status::invalid_argument, gpubuf::release_after(blocks, stream));
  EXPECT_EQ(65u, many.stats().held_blocks);
  EXPECT_OK(gpubuf::release_after<no_throw>(gpubuf::span<gpubuf::block>(blocks).subspan(0, 64), stream));
  EXPECT_EQ(1u, many.stats().held_blocks);
  EXPECT_OK(gpubuf::release_after<no_throw>({}, stream)) << "none is a valid list";
}

// ---- Waiters ----------------------------------------------------------------------------------------------------

TEST_F(Pools, AWaiterGetsTheNextBlock) {
  auto one = pool.acquire();
  auto two = pool.acquire();
  std::thread waiter([&] { EXPECT_OK(pool.acquire<no_throw>(gpubuf::timeout_infinite)); });
  while (pool.stats().waiters == 0) std::this_thread::yield();
  one.give_back();
  waiter.join();
  EXPECT_EQ(1u, pool.stats().hand_overs);
}

TEST_F(Pools, AHigherPriorityIsServedFirst) {
  auto held = in_place.acquire();
  std::vector<int> order;
  std::thread low([&] {
    auto block = in_place.acquire(gpubuf::timeout_infinite, 1);
    order.push_back(1);
  });
  while (in_place.stats().waiters < 1) std::this_thread::yield();
  std::thread high([&] {
    auto block = in_place.acquire(gpubuf::timeout_infinite, 2);
    order.push_back(2);
  });
  while (in_place.stats().waiters < 2) std::this_thread::yield();
  held.give_back();
  low.join();
  high.join();
  EXPECT_EQ((std::vector<int>{2, 1}), order);
}

TEST_F(Pools, DestroyingThePoolWakesItsWaiters) {
  auto held = in_place.acquire();
  std::atomic<status> answer{status::ok};
  gpubuf_pool* raw = in_place.capi();
  std::thread waiter([&] {
    gpubuf_block* block = nullptr;
    answer.store(static_cast<status>(gpubuf_pool_acquire(raw, 0, GPUBUF_TIMEOUT_INFINITE, &block)));
  });
  while (in_place.stats().waiters == 0) std::this_thread::yield();
  in_place.reset();
  waiter.join();
  EXPECT_STATUS(status::shut_down, answer.load());
  EXPECT_OK(held.begin_write<std::byte, no_throw>()) << "a block that is held stays good";
  EXPECT_OK(held.give_back<no_throw>());
}

// ---- Loss -------------------------------------------------------------------------------------------------------

TEST_F(Pools, ALostDeviceAnswersSoAndWakesWaiters) {
  auto block = in_place.acquire();
  static_cast<void>(block.device_address());
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::delay(stream, std::chrono::nanoseconds(1));
  block.release_after(stream);
  gpubuf::host::lose_device(device);
  EXPECT_STATUS(status::device_lost, in_place.acquire<no_throw>());
  shut.release();
}
