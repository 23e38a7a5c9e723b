// Tiers: blocks that live in device, page-locked or pageable memory, and move between them behind one handle.
#include "support.hpp"

using gpubuf::access;
using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::placement;
using gpubuf::status;

class TiersTest : public test::Device {
 protected:
  static constexpr std::uint64_t bytes = 4096;
  // So many blocks fit in each tier.
  gpubuf::tiers make(std::uint64_t on_device, std::uint64_t pinned, std::uint64_t pageable) {
    gpubuf::tiers_options options;
    options.device_bytes = on_device * bytes;
    options.pinned_bytes = pinned * bytes;
    options.pageable_bytes = pageable * bytes;
    return gpubuf::tiers::create(device, options);
  }
  static void touch(const gpubuf::tiered_block& block, const gpubuf::stream& on) { static_cast<void>(block.acquire(on)); }
};

TEST_F(TiersTest, OneHandleSurvivesEveryMove) {
  auto tiers = make(2, 2, 2);
  auto block = tiers.create_block(bytes);
  EXPECT_EQ(placement::pageable, block.tier()) << "the lowest tier that has room";
  block.begin_write<std::int32_t>()[7] = 42;
  for (const placement where : {placement::device, placement::pinned, placement::device, placement::pageable}) {
    block.move_to(where);
    EXPECT_EQ(where, block.tier());
  }
  EXPECT_EQ(42, block.begin_read<std::int32_t>()[7]);
  EXPECT_EQ(4u, tiers.stats().promotions + tiers.stats().demotions);
}

TEST_F(TiersTest, AnAccessBringsABlockToItsTierAndHoldsItThere) {
  auto tiers = make(1, 2, 2);
  auto block = tiers.create_block(bytes), other = tiers.create_block(bytes);
  {
    const auto use = block.acquire(stream);
    EXPECT_NE(0u, use.device_address());
    EXPECT_EQ(placement::device, block.tier());
    EXPECT_STATUS(status::busy, block.move_to<no_throw>(placement::pinned));
    EXPECT_STATUS(status::budget, other.acquire<no_throw>(stream)) << "who has the tier is held";
    EXPECT_EQ(placement::pageable, other.tier());
  }
  EXPECT_OK(other.acquire<no_throw>(stream));
  EXPECT_EQ(placement::pinned, block.tier()) << "it made room";
}

TEST_F(TiersTest, AccessesFollowTheReuseContract) {
  auto tiers = make(1, 2, 0);
  auto block = tiers.create_block(bytes, placement::pinned);
  const auto second = gpubuf::stream::create(device);
  auto writes = block.acquire(stream, access::write, placement::pinned);
  EXPECT_STATUS(status::busy, block.acquire<no_throw>(second)) << "a writer is alone";
  EXPECT_STATUS(status::busy, (block.begin_read<std::byte, no_throw>()));
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::delay(stream, std::chrono::nanoseconds(1));  // what a kernel would be
  writes.release();
  EXPECT_STATUS(status::busy, (block.begin_read<std::byte, no_throw>(placement::none, no_wait))) << "it runs still";
  const auto read = block.acquire(second), also = block.acquire(stream);
  EXPECT_EQ(read.device_address(), also.device_address()) << "readers share; the streams wait for the writer on the device";
  shut.release();
}

TEST_F(TiersTest, MovesAreQueuedBehindWhatUsedTheBlock) {
  auto tiers = make(1, 1, 0);
  auto block = tiers.create_block(bytes, placement::pinned);
  auto shut = gpubuf::host::hold(stream);
  {
    const auto use = block.acquire(stream, access::write, placement::pinned);
    gpubuf::host::delay(stream, std::chrono::nanoseconds(1));
  }
  EXPECT_OK(block.move_to<no_throw>(placement::device, no_wait));
  EXPECT_EQ(1u, block.info().moving);
  EXPECT_EQ(bytes, tiers.tier(placement::pinned).used_bytes) << "the old memory counts until nobody needs it";
  shut.release();
  device.synchronize();
  EXPECT_EQ(0u, block.info().moving);
}

TEST_F(TiersTest, StepsBringUpWhatIsUsed) {
  auto tiers = make(1, 2, 2);
  auto cold = tiers.create_block(bytes, placement::device), hot = tiers.create_block(bytes);
  for (int i = 0; i < 3; ++i) hot.begin_write()[0] = std::byte{1};
  EXPECT_EQ(1u, tiers.step().demoted) << "first there has to be room";
  device.synchronize();
  EXPECT_EQ(1u, tiers.step().promoted);
  EXPECT_EQ(placement::device, hot.tier());
  EXPECT_EQ(placement::pinned, cold.tier());
}

TEST_F(TiersTest, BlocksGoDownOnDemand) {
  auto tiers = make(3, 3, 0);
  std::vector<gpubuf::tiered_block> blocks;
  for (int i = 0; i < 3; ++i) blocks.push_back(tiers.create_block(bytes, placement::device));
  EXPECT_EQ(2 * bytes, tiers.demote(placement::device, bytes + 1));
  device.synchronize();
  tiers.set_budget(placement::device, bytes);
  EXPECT_EQ(0u, tiers.step().demoted) << "what is left fits";
  EXPECT_EQ(1u, tiers.tier(placement::device).blocks);
  EXPECT_STATUS(status::invalid_argument, tiers.set_budget<no_throw>(placement::managed, bytes));
}

TEST_F(TiersTest, BuffersTakeTheirPartOfTheBudgets) {
  auto tiers = make(2, 2, 2);
  auto block = tiers.create_block(bytes, placement::device);
  const auto spec = gpubuf::spec::of<std::uint8_t>({bytes});
  {
    auto one = tiers.allocate(spec), two = tiers.allocate(spec);
    EXPECT_NE(placement::device, block.tier()) << "it made room";
    EXPECT_STATUS(status::budget, tiers.allocate<no_throw>(spec)) << "buffers make none";
    EXPECT_EQ(2 * bytes, tiers.tier(placement::device).used_bytes);
    EXPECT_OK(two.to_device<no_throw>(stream));
  }
  device.drain();
  EXPECT_EQ(0u, tiers.tier(placement::device).used_bytes);
  EXPECT_OK(tiers.allocate<no_throw>(spec));
}

TEST_F(TiersTest, AFailedMoveLeavesTheBlockWhereItWas) {
  if (!test::copies_fail_alone()) GTEST_SKIP() << "a copy cannot fail alone";
  auto tiers = make(1, 1, 0);
  auto block = tiers.create_block(bytes, placement::pinned);
  block.begin_write<std::int32_t>()[0] = 5;
  gpubuf::host::fail_operation(device, gpubuf::host::operation::copy, 1, gpubuf::host::when::at_execution);
  block.move_to(placement::device);
  test::any_status(gpubuf_device_synchronize(device.capi(), GPUBUF_TIMEOUT_DEFAULT));
  EXPECT_EQ(placement::pinned, block.tier());
  EXPECT_EQ(5, block.begin_read<std::int32_t>()[0]);
  EXPECT_EQ(1u, tiers.stats().failed_moves);
}

TEST_F(TiersTest, RefuseWhatMakesNoSense) {
  auto tiers = make(1, 1, 1);
  auto block = tiers.create_block(bytes);
  EXPECT_STATUS(status::invalid_argument, (block.begin_read<std::byte, no_throw>(placement::device)));
  EXPECT_STATUS(status::invalid_argument, block.acquire<no_throw>(stream, access::read, placement::pageable));
  EXPECT_STATUS(status::invalid_argument, block.move_to<no_throw>(placement::none));
  EXPECT_STATUS(status::budget, tiers.create_block<no_throw>(2 * bytes));
  EXPECT_STATUS(status::invalid_argument, gpubuf::tiers::create<no_throw>(device, gpubuf::tiers_options()));
  EXPECT_STATUS(status::not_begun, gpubuf_tiered_block_release(block.capi(), 1));
}

TEST_F(TiersTest, BlocksOutliveTheTiersHandle) {
  auto tiers = make(1, 1, 0);
  auto block = tiers.create_block(bytes);
  tiers.reset();
  EXPECT_OK(block.acquire<no_throw>(stream));
}
