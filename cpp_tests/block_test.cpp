// Blocks: on their own, moved to the device for a while, with a twin on first need, and what a pool knows of them.
#include "support.hpp"

using gpubuf::block_state;
using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::placement;
using gpubuf::status;
using gpubuf::strategy;
using gpubuf::twin;

class Blocks : public test::Device {
 protected:
  gpubuf::pool in_place = gpubuf::pool::create(device, 64, 3, placement::uva);

  static block_state state(const gpubuf::pool& pool, std::uint32_t index) {
    return static_cast<block_state>(pool.block_info(index).state);
  }
  std::vector<std::byte> seen(gpubuf::address address, std::size_t bytes) {
    stream.synchronize();
    std::vector<std::byte> out(bytes);
    gpubuf::host::call(stream, [&](gpubuf::host::view& view) { view.read(address, out.data(), bytes); });
    stream.synchronize();
    return out;
  }
};

TEST_F(Blocks, CanBeMadeWithoutAPool) {
  auto block = gpubuf::block::create(device, 256);  // pinned, with a device side
  EXPECT_EQ(256u, block.info().bytes);
  EXPECT_EQ(1u, block.info().device_side);
  block.copy_in(test::ramp<std::int32_t>(64));
  block.to_device(stream);
  block.release_after(stream);
  EXPECT_FALSE(block) << "gone: its memory is freed when the copy is over";

  auto uva = gpubuf::block::create(device, 256, placement::uva);
  EXPECT_EQ(0u, uva.info().device_side);
  EXPECT_OK(uva.device_address<no_throw>());
  EXPECT_STATUS(status::unfenced, uva.give_back<no_throw>()) << "the rules are those of every block";
  uva.declare_unread();
  EXPECT_OK(uva.give_back<no_throw>());
  EXPECT_STATUS(status::invalid_argument, gpubuf::block::create<no_throw>(device, 0));
  EXPECT_STATUS(status::invalid_argument, gpubuf::block::create<no_throw>(device, 8, placement::pageable));
}

TEST_F(Blocks, OfManagedMemoryHaveNoTwinWhereverTheyComeFrom) {
  if (gpubuf::block::create<no_throw>(device, 64, placement::managed).status() == status::unsupported) {
    GTEST_SKIP() << "no managed memory here";
  }
  EXPECT_EQ(0u, gpubuf::block::create(device, 64, placement::managed).info().device_side);
  EXPECT_EQ(0u, gpubuf::pool::create(device, 64, 1, placement::managed).acquire().info().device_side);
}

TEST_F(Blocks, MoveToDeviceMemoryAndBack) {
  auto block = in_place.acquire();
  block.copy_in(std::vector<std::byte>(64, std::byte{1}));
  const auto here = block.device_address();
  EXPECT_STATUS(status::unfenced, block.promote<no_throw>(stream)) << "somebody has the address";
  block.fence(stream);
  block.promote(stream);
  EXPECT_EQ(1u, block.info().promoted);
  const auto there = block.device_address();
  EXPECT_NE(here, there);
  EXPECT_EQ(std::byte{1}, seen(there, 64)[63]);
  block.fence(stream);
  block.demote(stream);
  EXPECT_EQ(here, block.device_address());
  block.declare_unread();
  EXPECT_STATUS(status::unsupported, block.demote<no_throw>(stream)) << "it is back";
}

TEST_F(Blocks, GetTheirTwinOnFirstNeed) {
  gpubuf::pool_options options;
  options.block_bytes = 64;
  options.block_count = 2;
  options.device_side = static_cast<std::uint32_t>(twin::on_need);
  const auto pool = gpubuf::pool::create(device, options);
  EXPECT_EQ(0u, device.stats().device_bytes);
  auto block = pool.acquire();
  EXPECT_EQ(0u, block.info().device_side);
  block.to_device(stream);
  EXPECT_EQ(1u, block.info().device_side);
  EXPECT_EQ(64u, device.stats().device_bytes);
}

TEST_F(Blocks, AreSyncedWhereOneSideIsNewer) {
  auto block = gpubuf::block::create(device, 64);
  block.copy_in(std::vector<std::byte>(16, std::byte{4}));
  EXPECT_EQ(16u, block.stats().host_dirty_bytes);
  block.sync_blocking(stream);  // to the device, what was written
  EXPECT_EQ(16u, block.stats().to_device_bytes);
  EXPECT_EQ(0u, block.stats().host_dirty_bytes);
  const auto address = block.device_address();
  gpubuf::host::call(stream, [=](gpubuf::host::view& view) { view.write(address, "\x09", 1); });
  block.fence(stream);  // work on the device may have written all of it
  block.sync_blocking(stream);  // and so it comes back
  EXPECT_EQ(std::byte{9}, block.begin_read()[0]);
  block.copy_in(std::vector<std::byte>(1));
  block.device_address();
  block.fence(stream);
  EXPECT_STATUS(status::conflict, block.sync<no_throw>(stream)) << "both are newer";
  EXPECT_OK(block.sync<no_throw>(stream, gpubuf::sync_policy::host_wins));
  EXPECT_EQ(1u, block.stats().conflicts);
}

TEST_F(Blocks, TellWhatMovedAndHowLongItTook) {
  auto untimed = gpubuf::block::create(device, 64);
  untimed.to_device_blocking(stream);
  EXPECT_EQ(1u, untimed.stats().to_device_copies);
  EXPECT_EQ(gpubuf::absent, untimed.stats().to_device_ns) << "not asked for, not guessed";
  EXPECT_EQ(gpubuf::absent, untimed.stats().to_device_timed);
  EXPECT_EQ(gpubuf::absent, untimed.stats().to_host_timed);
  gpubuf::block_options options;
  options.bytes = 64;
  options.device_side = static_cast<std::uint32_t>(twin::at_once);
  options.timed = 1;
  auto timed = gpubuf::block::create(device, options);
  timed.to_device_blocking(stream);
  timed.to_host_blocking(stream);
  const auto stats = timed.stats();
  EXPECT_EQ(1u, stats.to_device_timed);
  EXPECT_EQ(1u, stats.to_host_timed);
  EXPECT_NE(gpubuf::absent, stats.to_device_ns);
}

TEST_F(Blocks, AreResetToZeroes) {
  auto block = gpubuf::block::create(device, 64);
  block.copy_in(std::vector<std::byte>(64, std::byte{5}));
  block.sync(stream);
  block.reset_contents(stream);
  EXPECT_EQ(std::byte{0}, block.begin_read()[63]);
  EXPECT_EQ(0u, block.stats().to_device_copies) << "the figures begin anew";
  EXPECT_EQ(std::byte{0}, seen(block.publish(stream), 64)[0]);
  block.declare_unread();
}

TEST_F(Blocks, AreKnownToTheirPool) {
  EXPECT_EQ(block_state::free, state(in_place, 0));
  EXPECT_EQ(gpubuf::absent, in_place.block_info(0).last_use_ns);
  auto block = in_place.acquire(no_wait, 7);
  const auto index = block.info().index;
  EXPECT_EQ(block_state::acquired, state(in_place, index));
  EXPECT_EQ(7, in_place.block_info(index).priority);
  EXPECT_EQ(1u, in_place.block_info(index).uses);
  EXPECT_NE(gpubuf::absent, in_place.block_info(index).last_use_ns);
  {
    const auto shut = gpubuf::host::hold(stream);
    gpubuf::host::delay(stream, std::chrono::nanoseconds(1));
    block.release_after(stream);
    EXPECT_EQ(block_state::copying, state(in_place, index)) << "free, and its last use is not over";
    EXPECT_EQ(0u, in_place.block_info(index).held);
  }
  EXPECT_STATUS(status::not_found, in_place.block_info<no_throw>(3));
}

TEST_F(Blocks, ComeInTheOrderOfTheStrategy) {
  gpubuf::pool_options options;
  options.block_bytes = 64;
  options.block_count = 3;
  options.strategy = static_cast<std::uint32_t>(strategy::round_robin);
  const auto pool = gpubuf::pool::create(device, options);
  std::vector<std::uint32_t> order;
  for (int i = 0; i < 5; ++i) order.push_back(pool.acquire().info().index);
  EXPECT_EQ((std::vector<std::uint32_t>{0, 1, 2, 0, 1}), order);
}

TEST_F(Blocks, SomeAreKeptForHigherPriorities) {
  gpubuf::pool_options options;
  options.block_bytes = 64;
  options.block_count = 2;
  options.strategy = static_cast<std::uint32_t>(strategy::priority);
  options.reserved_blocks = 1;
  const auto pool = gpubuf::pool::create(device, options);
  const auto ordinary = pool.acquire();
  EXPECT_STATUS(status::busy, pool.acquire<no_throw>(no_wait)) << "one is free, and kept back";
  EXPECT_OK(pool.acquire<no_throw>(no_wait, 1));
}

TEST_F(Blocks, AreAskedForByThoseWithAHigherPriority) {
  gpubuf::pool_options options;
  options.block_bytes = 64;
  options.block_count = 1;
  gpubuf::block background;
  std::vector<gpubuf::give_back_request> requests;
  auto give_back = [&](gpubuf::give_back_request request) {
    requests.push_back(request);
    background.give_back();
  };
  const auto pool = gpubuf::pool::create(device, options, give_back);
  background = pool.acquire(no_wait, -1);
  const auto urgent = pool.acquire(gpubuf::timeout_default, 5);  // asks, and gets what is given back
  ASSERT_EQ(1u, requests.size());
  EXPECT_EQ(-1, requests[0].holder_priority);
  EXPECT_EQ(5, requests[0].waiter_priority);
  EXPECT_EQ(urgent.info().index, requests[0].block);
  EXPECT_EQ(1u, pool.stats().give_back_requests);
}
