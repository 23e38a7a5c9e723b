// How many blocks a pool has: fixed, or between a first size and a maximum, changed where nobody waits for it.
#include "support.hpp"

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::status;

class PoolSize : public test::Device {
 protected:
  static gpubuf::pool_options options(std::uint32_t first, std::uint32_t most) {
    gpubuf::pool_options options;
    options.placement = GPUBUF_PLACEMENT_UVA;
    options.block_bytes = 256;
    options.block_count = first;
    options.max_blocks = most;
    options.growth_percent = 200;
    options.cool_down_ns = 0;
    return options;
  }
  static std::vector<gpubuf::block> take_all(const gpubuf::pool& pool) {
    std::vector<gpubuf::block> blocks;
    while (auto block = pool.acquire<no_throw>(no_wait)) blocks.push_back(std::move(*block));
    return blocks;
  }
};

TEST_F(PoolSize, StaysAsItIsWithoutAMaximum) {
  const auto pool = gpubuf::pool::create(device, 256, 2);
  const auto blocks = take_all(pool);
  EXPECT_EQ(0u, pool.maintain().made);
  EXPECT_EQ(2u, pool.stats().block_count);
}

TEST_F(PoolSize, GrowsInMaintainWhereAnAcquireFoundNoBlock) {
  const auto pool = gpubuf::pool::create(device, options(2, 6));
  auto blocks = take_all(pool);
  EXPECT_EQ(2u, blocks.size());
  EXPECT_EQ(2u, pool.stats().block_count) << "not on the path of who acquires";
  EXPECT_EQ(2u, pool.maintain().made);
  for (auto& block : take_all(pool)) blocks.push_back(std::move(block));
  EXPECT_EQ(4u, blocks.size());
  EXPECT_EQ(2u, pool.maintain().made) << "up to max_blocks";
  for (auto& block : take_all(pool)) blocks.push_back(std::move(block));
  EXPECT_EQ(0u, pool.maintain().made);
  const auto stats = pool.stats();
  EXPECT_EQ(6u, stats.peak_blocks);
  EXPECT_EQ(6u, stats.peak_held);
  EXPECT_EQ(2u, stats.growths);
  EXPECT_EQ(3u, stats.contended_acquires);
}

TEST_F(PoolSize, OptionsOfGrowthAreCheckedAlsoWhereThePoolStaysAsItIs) {
  auto wrong = options(2, 0);
  wrong.growth_percent = 100;
  EXPECT_STATUS(status::invalid_argument, gpubuf::pool::create<no_throw>(device, wrong));
}

TEST_F(PoolSize, ShrinksWhereFewBlocksWereHeld) {
  const auto pool = gpubuf::pool::create(device, options(2, 8));
  for (int round = 0; round < 2; ++round) {
    const auto blocks = take_all(pool);
    EXPECT_GT(pool.maintain().made, 0u);
  }
  EXPECT_EQ(8u, pool.stats().block_count);
  EXPECT_EQ(0u, pool.maintain().gone) << "many were held since the last look";
  EXPECT_EQ(4u, pool.maintain().gone);
  EXPECT_EQ(2u, pool.maintain().gone);
  EXPECT_EQ(0u, pool.maintain().gone) << "never below its first size";
  EXPECT_EQ(2u, pool.stats().shrinks);
}

TEST_F(PoolSize, DeviceMaintainKeepsUpEveryPool) {
  const auto pool = gpubuf::pool::create(device, options(1, 4));
  const auto blocks = take_all(pool);
  device.maintain();
  EXPECT_EQ(2u, pool.stats().block_count);
}

TEST_F(PoolSize, TrimLetsFreeBlocksGo) {
  const auto pool = gpubuf::pool::create(device, options(4, 4));
  const auto held = pool.acquire();
  EXPECT_EQ(2u, pool.trim(2));
  EXPECT_EQ(1u, pool.trim(0)) << "the held one stays";
  EXPECT_EQ(1u, pool.stats().block_count);
  EXPECT_EQ(3u, take_all(pool).size()) << "made again, up to the first size";
}

TEST_F(PoolSize, ClearRefusesWhileABlockIsHeld) {
  const auto pool = gpubuf::pool::create(device, options(3, 3));
  auto held = pool.acquire();
  EXPECT_STATUS(status::busy, pool.clear<no_throw>());
  EXPECT_EQ(3u, pool.stats().block_count) << "and none has gone";
  held.give_back();
  EXPECT_OK(pool.clear<no_throw>());
  EXPECT_EQ(0u, pool.stats().block_count);
  EXPECT_OK(pool.acquire<no_throw>(no_wait));
}

TEST_F(PoolSize, RefusesOptionsThatMakeNoSense) {
  auto wrong = options(4, 3);
  EXPECT_STATUS(status::invalid_argument, gpubuf::pool::create<no_throw>(device, wrong)) << "a maximum below the first size";
  wrong = options(4, 8);
  wrong.growth_percent = 100;
  EXPECT_STATUS(status::invalid_argument, gpubuf::pool::create<no_throw>(device, wrong)) << "growing to the same size";
  wrong = options(4, 8);
  wrong.shrink_below_percent = 100;
  EXPECT_STATUS(status::invalid_argument, gpubuf::pool::create<no_throw>(device, wrong));
  wrong = options(4, 8);
  wrong.strategy = 77;
  EXPECT_STATUS(status::invalid_argument, gpubuf::pool::create<no_throw>(device, wrong));
  wrong = options(4, 8);
  wrong.reserved_blocks = 1;
  EXPECT_STATUS(status::invalid_argument, gpubuf::pool::create<no_throw>(device, wrong)) << "a reserve without its strategy";
}
