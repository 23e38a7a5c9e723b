// Memory pressure: who is told that memory is nearly used up, and who gives some back.
#include "support.hpp"

using gpubuf::no_throw;
using gpubuf::placement;
using gpubuf::status;

class PressureTest : public test::Device {
 protected:
  static constexpr std::uint64_t bytes = 4096;
  // What the device and the host read, in percent, instead of the real figures; and what was told.
  struct world {
    std::uint64_t device = 0, host = 0;
    std::vector<std::string> told;
  } now;
  static void read(std::uint32_t what, std::uint64_t* used, std::uint64_t* limit, void* data) {
    *used = what == GPUBUF_PRESSURE_DEVICE ? static_cast<world*>(data)->device : static_cast<world*>(data)->host;
    *limit = 100;
  }
  static void tell(std::uint32_t what, std::uint32_t high, std::uint64_t, std::uint64_t, const char*, void* data) {
    static_cast<world*>(data)->told.push_back(std::to_string(what) + (high != 0 ? " high" : " low"));
  }
  gpubuf::pressure make() {
    gpubuf::pressure_options options;
    options.read = &PressureTest::read;
    options.notify = &PressureTest::tell;
    options.read_user_data = options.notify_user_data = &now;
    return gpubuf::pressure::create(device, options);
  }
  gpubuf::pressure watch = make();
};

TEST_F(PressureTest, ItActsFromTheHighMarkDownToTheLowOne) {
  for (const std::uint64_t percent : {89, 90, 95, 85, 81, 80, 85}) {
    now.device = percent;
    watch.step();
  }
  EXPECT_EQ((std::vector<std::string>{"1 high", "1 low"}), now.told) << "each change is told once";
  EXPECT_EQ(7u, watch.stats().looks);
  EXPECT_EQ(85u, watch.stats().device_used_bytes);
}

TEST_F(PressureTest, WhatIsIdleGoes) {
  auto pool = gpubuf::pool::create(device, bytes, 4);
  const auto held = pool.acquire();
  auto scratch = gpubuf::workspace::create(device);
  static_cast<void>(scratch.allocate(gpubuf::spec::of<float>({64})));
  watch.add(pool);
  watch.add(scratch);
  now.host = 99;
  EXPECT_EQ(1u, watch.step());
  EXPECT_EQ(1u, pool.stats().block_count);
  EXPECT_EQ(0u, scratch.stats().entries);
  EXPECT_EQ(3u, watch.stats().trimmed_blocks);
}

TEST_F(PressureTest, BudgetsAreWatchedToo) {
  gpubuf::pinned_options options;
  options.budget_bytes = 10 * bytes;
  auto manager = gpubuf::pinned::create(device, options);
  watch.add(manager);
  gpubuf_pinned_request request;
  gpubuf_pinned_request_init(&request, sizeof request);
  request.bytes = 9 * bytes;
  gpubuf_block* block = nullptr;
  ASSERT_OK(gpubuf_pinned_allocate(manager.capi(), &request, &block));
  watch.step();
  EXPECT_EQ(std::vector<std::string>{"3 high"}, now.told);
  ASSERT_OK(gpubuf_pinned_free(manager.capi(), block));
  device.maintain();
  watch.step();
  EXPECT_EQ("3 low", now.told.back());
}

TEST_F(PressureTest, TiersSendBlocksDown) {
  gpubuf::tiers_options options;
  options.device_bytes = 10 * bytes;
  options.pageable_bytes = 20 * bytes;
  auto tiers = gpubuf::tiers::create(device, options);
  std::vector<gpubuf::tiered_block> blocks;
  for (int i = 0; i < 10; ++i) blocks.push_back(tiers.create_block(bytes, placement::device));
  watch.add(tiers);
  watch.step();
  device.synchronize();
  tiers.step();
  watch.step();
  EXPECT_EQ((std::vector<std::string>{"4 high", "4 low"}), now.told);
  EXPECT_EQ(8u, tiers.tier(placement::device).blocks) << "down to the low mark";
  now.device = 95;  // of a hundred bytes: 15 are to go, which is one block
  watch.step();
  EXPECT_EQ(2 * bytes, watch.stats().demoted_bytes) << "idle memory goes first";
  watch.step();
  EXPECT_EQ(3 * bytes, watch.stats().demoted_bytes);
}

TEST_F(PressureTest, MaintainSteps) {
  now.host = 95;
  device.maintain();
  EXPECT_EQ(std::vector<std::string>{"2 high"}, now.told);
}

TEST_F(PressureTest, ReadsForItself) {
  const auto own = gpubuf::pressure::create(device);
  own.step();
  EXPECT_LT(0u, own.stats().device_limit_bytes);
  EXPECT_LT(0u, own.stats().host_limit_bytes);
}

TEST_F(PressureTest, RefusesMarksThatMakeNoSense) {
  gpubuf::pressure_options options;
  options.low_percent = 95;
  EXPECT_STATUS(status::invalid_argument, gpubuf::pressure::create<no_throw>(device, options));
  options.high_percent = 101;
  EXPECT_STATUS(status::invalid_argument, gpubuf::pressure::create<no_throw>(device, options));
}

TEST_F(PressureTest, WhoWasAddedMayEndFirst) {
  auto pool = gpubuf::pool::create(device, bytes, 2);
  watch.add(pool);
  pool.reset();
  now.host = 95;
  EXPECT_OK(watch.step<no_throw>());
}

TEST_F(PressureTest, CallsWhatTheProgramHas) {
  std::vector<std::string> told;
  auto tell = [&](const gpubuf::pressure_change& change) {
    told.push_back(std::string(change.of).empty() ? "nobody's" : (change.high ? "high " : "low ") + std::to_string(change.used_bytes));
  };
  std::uint64_t percent = 95;
  auto read = [&](gpubuf::pressure_reading& memory) {
    if (memory.kind == gpubuf::pressure_kind::host) memory.used_bytes = percent, memory.limit_bytes = 100;
  };
  const auto own = gpubuf::pressure::create(device, gpubuf::pressure_options(), tell, read);
  own.step();
  percent = 10;
  own.step();
  EXPECT_EQ((std::vector<std::string>{"high 95", "low 10"}), told);
  EXPECT_LT(0u, own.stats().device_limit_bytes) << "what is left alone is the library's reading";
}

TEST_F(PressureTest, ExceptionsOfCallbacksAreDropped) {
  const auto before = gpubuf::dropped_exceptions();
  auto tell = [](const gpubuf::pressure_change&) { throw 1; };
  auto read = [](gpubuf::pressure_reading& memory) {
    if (memory.kind == gpubuf::pressure_kind::device) throw 2;
    memory.used_bytes = 99;
    memory.limit_bytes = 100;
  };
  const auto own = gpubuf::pressure::create(device, gpubuf::pressure_options(), tell, read);
  EXPECT_EQ(1u, own.step()) << "as if nobody had been told";
  EXPECT_EQ(before + 2, gpubuf::dropped_exceptions());
  EXPECT_LT(0u, own.stats().device_limit_bytes) << "the library's reading stays";
}
