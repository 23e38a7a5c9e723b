// Slots made with their surroundings in one call: what the memory is taken from, and a predictor of the steps.
#include "support.hpp"

#include <utility>

using gpubuf::no_throw;
using gpubuf::placement;
using gpubuf::status;

class SlotsSource : public test::Device {
 protected:
  // A small decoder: a few kilobytes.
  static gpubuf::decode_options small() {
    gpubuf::decode_options options;
    options.max_batch = 4;
    options.max_tokens = 64;
    options.max_seq_len = 64;
    options.read_back_bytes = 256;
    return options;
  }
  static constexpr std::uint64_t pieces = 1 + 2 + 2;  // a copy of the device block, staging, read-backs

  // One step of so many tokens, padded as a graph needs it.
  void run(gpubuf::slots& slots, std::size_t tokens) {
    auto step = slots.begin();
    const auto of = [&](auto type, const char* name, std::size_t rows) {
      slots.write<decltype(type)>(step, name, std::vector<decltype(type)>(rows, 1));
    };
    of(std::int32_t{}, "input_ids", tokens);
    of(std::int64_t{}, "positions", tokens);
    of(std::int64_t{}, "slot_mapping", tokens);
    of(std::int32_t{}, "query_start_loc", 2);
    of(std::int32_t{}, "seq_lens", 1);
    step.pad_tokens();
    step.commit(stream);
    step.retire();
  }
};

TEST_F(SlotsSource, TakesTheMemoryOfAWorkspaceAndGivesItBack) {
  auto memory = gpubuf::workspace::create(device);
  auto options = small();
  options.source_workspace = memory.capi();
  auto slots = gpubuf::slots::create_decode(device, options);
  EXPECT_EQ(0u, memory.stats().entries) << "freeze takes it";
  slots.freeze();
  EXPECT_EQ(pieces, memory.stats().held_entries);
  const auto at = slots.device_address(slots.find("input_ids"));
  run(slots, 3);
  EXPECT_EQ(at, slots.device_address(slots.find("input_ids")));
  EXPECT_NE(std::string::npos, gpubuf::describe(slots).find("memory of workspace"));
  slots.reset();
  stream.synchronize();
  device.maintain();
  EXPECT_EQ(pieces, memory.stats().free_entries);
  auto next = gpubuf::slots::create_decode(device, options);
  next.freeze();
  EXPECT_EQ(pieces, memory.stats().made) << "the next ones have the same memory";
  EXPECT_EQ(at, next.device_address(next.find("input_ids")));
}

TEST_F(SlotsSource, KeepsItsMemoryWhileTheDeviceUsesItAndAfterTheSource) {
  auto memory = gpubuf::workspace::create(device);
  auto options = small();
  options.source_workspace = memory.capi();
  auto slots = gpubuf::slots::create_decode(device, options);
  slots.freeze();
  {
    auto shut = gpubuf::host::hold(stream);
    run(slots, 2);
    slots.reset();
    device.maintain();
    EXPECT_EQ(2u, memory.stats().held_entries) << "the copy still reads one entry and writes the device block";
  }
  stream.synchronize();
  device.maintain();
  EXPECT_EQ(0u, memory.stats().held_entries);
  slots = gpubuf::slots::create_decode(device, options);
  slots.freeze();
  memory.reset();
  EXPECT_NO_THROW(run(slots, 2)) << "what was taken stays";
}

TEST_F(SlotsSource, MakesTiersWhoseBudgetsAreSharedWithBlocks) {
  gpubuf::tiers_options budgets;
  budgets.device_bytes = budgets.pinned_bytes = budgets.pageable_bytes = 1 << 20;
  auto options = small();
  options.tiered = &budgets;
  auto slots = gpubuf::slots::create_decode(device, options);
  auto tiers = slots.tiers();
  slots.freeze();
  const std::uint64_t own = slots.stats().device_bytes;
  auto block = tiers.create_block(4096, placement::device);
  EXPECT_EQ(own + 4096, tiers.tier(placement::device).used_bytes);
  EXPECT_EQ(2 * slots.stats().arena_bytes + 2 * 256, tiers.tier(placement::pinned).used_bytes);
  options.tiered = nullptr;
  options.source_tiers = tiers.capi();
  auto others = gpubuf::slots::create_decode(device, options);
  others.freeze();
  EXPECT_EQ(2 * own + 4096, tiers.tier(placement::device).used_bytes) << "tiers of the caller's do as well";
  others.reset();
  slots.reset();
  device.maintain();
  EXPECT_EQ(4096u, tiers.tier(placement::device).used_bytes);
}

TEST_F(SlotsSource, AFreezeThatFindsNoRoomMayBeCalledAgain) {
  gpubuf::tiers_options budgets;
  budgets.device_bytes = 1024;
  budgets.pinned_bytes = 1 << 20;
  auto options = small();
  options.tiered = &budgets;
  auto slots = gpubuf::slots::create_decode(device, options);
  EXPECT_STATUS(status::budget, slots.freeze<no_throw>());
  auto tiers = slots.tiers();
  device.maintain();
  EXPECT_EQ(0u, tiers.tier(placement::pinned).used_bytes);
  tiers.set_budget(placement::device, 1 << 20);
  EXPECT_OK(slots.freeze<no_throw>());
}

TEST_F(SlotsSource, APredictorIsToldOfEachStep) {
  gpubuf::predictor_options predictive;
  predictive.count = 1;
  auto options = small();
  options.predictive = &predictive;
  auto slots = gpubuf::slots::create_decode(device, options);
  auto predictor = slots.predictor();
  slots.freeze();
  for (const std::size_t tokens : {3u, 4u, 20u, 3u}) run(slots, tokens);
  EXPECT_EQ(4u, predictor.stats().records);
  EXPECT_EQ(2u, predictor.stats().hits) << "4, 4, 24, 4 tokens, padded: the second and the last";
  ASSERT_EQ(1u, predictor.predict().size());
  EXPECT_EQ(4u, predictor.predict()[0]);
  // The sizes are tokens: who has memory for a step knows how much each takes.
  auto scratch = gpubuf::workspace::create(device);
  EXPECT_EQ(4u * 1000, predictor.prewarm([&](std::uint64_t tokens) {
    const auto logits = gpubuf::spec::of<std::uint8_t>({tokens, 1000}, placement::none);
    static_cast<void>(scratch.allocate(logits));
    return logits.bytes().both();
  }));
  EXPECT_EQ(1u, scratch.stats().free_entries);
  slots.reset();
  EXPECT_EQ(4u, predictor.stats().records) << "it outlives the slots";
}

TEST_F(SlotsSource, IsOfOnePlaceAlone) {
  auto memory = gpubuf::workspace::create(device);
  gpubuf::tiers_options budgets;
  budgets.device_bytes = budgets.pinned_bytes = 1 << 20;
  auto tiers = gpubuf::tiers::create(device, budgets);
  auto options = small();
  options.source_workspace = memory.capi();
  options.source_tiers = tiers.capi();
  EXPECT_STATUS(status::invalid_argument, gpubuf::slots::create_decode<no_throw>(device, options));
  options.source_tiers = nullptr;
  options.tiered = &budgets;
  EXPECT_STATUS(status::invalid_argument, gpubuf::slots::create_decode<no_throw>(device, options));
  options.source_workspace = nullptr;
  const gpubuf::tiers_options nothing;
  options.tiered = &nothing;
  EXPECT_STATUS(status::invalid_argument, gpubuf::slots::create_decode<no_throw>(device, options)) << "no budget";
  options.tiered = nullptr;
  gpubuf::predictor_options predictive;
  predictive.count = 9;
  options.predictive = &predictive;
  EXPECT_STATUS(status::invalid_argument, gpubuf::slots::create_decode<no_throw>(device, options)) << "at most 8";
  const auto other = gpubuf::device::open(test::backend());
  options = small();
  options.source_workspace = memory.capi();
  EXPECT_STATUS(status::wrong_device, gpubuf::slots::create_decode<no_throw>(other, options));
  memory.reset();
  EXPECT_STATUS(status::stale_handle, gpubuf::slots::create_decode<no_throw>(device, options));
  const auto plain = gpubuf::slots::create_decode(device, small());
  EXPECT_STATUS(status::unsupported, plain.tiers<no_throw>());
  EXPECT_STATUS(status::unsupported, plain.predictor<no_throw>());
}
