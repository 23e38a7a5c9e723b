// The pinned-memory manager: blocks of any size under one budget.
#include "support.hpp"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::over_budget;
using gpubuf::pinned_request;
using gpubuf::placement;
using gpubuf::status;
using gpubuf::twin;

class Pinned : public test::Device {
 protected:
  // Always so, whatever happens.
  static gpubuf_pinned_stats checked(const gpubuf::pinned& of) {
    const auto figures = of.stats();
    EXPECT_EQ(figures.budget_bytes, figures.requested_bytes + figures.cached_bytes + figures.quarantined_bytes +
                                        figures.reserved_bytes + figures.available_bytes);
    return figures;
  }
  gpubuf::pinned manager = gpubuf::pinned::create(device, 400);
};

TEST_F(Pinned, GivesBlocksOfAnySizeUnderOneBudget) {
  std::vector<gpubuf::block> blocks;
  for (int i = 0; i < 4; ++i) blocks.push_back(manager.allocate(100));
  EXPECT_STATUS(status::budget, manager.allocate<no_throw>(1));
  const auto figures = checked(manager);
  EXPECT_EQ(400u, figures.requested_bytes);
  EXPECT_EQ(1024u, figures.actual_bytes) << "places are multiples of 256 bytes, which the budget does not see";
  EXPECT_GE(figures.locked_bytes, 1024u) << "nor the pages that are locked";
  blocks.clear();
  EXPECT_EQ(400u, checked(manager).cached_bytes);
  EXPECT_OK(manager.allocate<no_throw>(400));
  EXPECT_STATUS(status::budget, manager.allocate<no_throw>(401));
}

TEST_F(Pinned, ABudgetOfNothingIsNothing) {
  const auto none = gpubuf::pinned::create(device, std::uint64_t{0});
  EXPECT_STATUS(status::budget, none.allocate<no_throw>(1));
  EXPECT_GT(gpubuf::pinned::create(device).stats().budget_bytes, 0u) << "an automatic one is a part of the machine's memory";
}

TEST_F(Pinned, SizesAreBytesOrShapes) {
  const auto by_shape = manager.allocate(pinned_request(gpubuf::dtype::f32, {3, 5}));
  EXPECT_EQ(60u, by_shape.info().bytes);
  EXPECT_EQ(60u, checked(manager).requested_bytes) << "exactly: nothing is rounded up";
  EXPECT_STATUS(status::invalid_argument, manager.allocate<no_throw>(0));
  pinned_request both(gpubuf::dtype::f32, {3});
  both.bytes = 12;
  EXPECT_STATUS(status::invalid_argument, manager.allocate<no_throw>(both));
  EXPECT_STATUS(status::invalid_argument,
                manager.allocate<no_throw>(pinned_request(gpubuf::dtype::f32, {1, 1, 1, 1, 1, 1, 1, 1, 1})));
}

TEST_F(Pinned, AddressesAreAlignedAsAsked) {
  const auto large = gpubuf::pinned::create(device, 16 << 20, placement::uva);
  for (const std::uint64_t alignment : {1u, 256u, 4096u, 1u << 21}) {
    const auto block = large.allocate(pinned_request(100).aligned_to(alignment));
    EXPECT_EQ(0u, reinterpret_cast<std::uintptr_t>(block.host_ptr()) % alignment);
  }
  EXPECT_STATUS(status::invalid_argument, large.allocate<no_throw>(pinned_request(1).aligned_to(3)));
  EXPECT_STATUS(status::invalid_argument, large.allocate<no_throw>(pinned_request(1).aligned_to(4 << 20)));
}

TEST_F(Pinned, ABlockIsUsedLikeOneOfAPool) {
  auto block = manager.allocate(pinned_request(256).with_twin());
  block.copy_in(test::ramp<std::int32_t>(64));
  block.to_device(stream);
  block.copy_in(std::vector<std::int32_t>(64));  // waits for the copy
  block.to_host(stream);
  EXPECT_EQ(test::ramp<std::int32_t>(64), test::copy_of(block.begin_read<std::int32_t>()));
  manager.free(block);
  EXPECT_FALSE(block) << "the owner is empty";
}

TEST_F(Pinned, ABlockGoesBackToItsOwnManagerAndOnce) {
  const auto other = gpubuf::pinned::create(device, 400);
  auto block = manager.allocate(100);
  EXPECT_STATUS(status::invalid_argument, other.free<no_throw>(block));
  EXPECT_EQ(1u, checked(manager).blocks) << "nothing has changed";
  gpubuf_block* const handle = block.capi();
  manager.free(block);
  EXPECT_STATUS(status::stale_handle, gpubuf_pinned_free(manager.capi(), handle));
  auto of_a_pool = gpubuf::pool::create(device, 64, 1);
  auto held = of_a_pool.acquire();
  EXPECT_STATUS(status::invalid_argument, manager.free<no_throw>(held));
}

TEST_F(Pinned, MemoryIsGivenOutAgainWhenItsLastUseIsOver) {
  auto block = manager.allocate(400);
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::delay(stream, std::chrono::nanoseconds(1));
  block.release_after({stream});
  EXPECT_EQ(400u, checked(manager).pending_bytes);
  EXPECT_STATUS(status::budget, manager.allocate<no_throw>(400));
  shut.release();
  stream.synchronize();
  EXPECT_OK(manager.allocate<no_throw>(400));
}

TEST_F(Pinned, ARefusalSaysWhoHasTheBudget) {
  const auto a = manager.allocate(pinned_request(300).owned_by("model-a"));
  const auto b = manager.allocate(pinned_request(50).owned_by("model-b"));
  EXPECT_STATUS(status::budget, manager.allocate<no_throw>(51));
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find(
      "budget 400 bytes: 350 bytes in use (model-a 300 bytes, model-b 50 bytes), asked 51 bytes; trim, free, or raise the budget"))
      << gpubuf::last_error_message();
  const auto shares = manager.shares();
  ASSERT_EQ(2u, shares.size());
  EXPECT_STREQ("model-a", shares[0].owner);
  EXPECT_EQ(300u, shares[0].bytes);
  EXPECT_EQ(1u, shares[1].blocks);
  EXPECT_EQ(2u, manager.shares<no_throw>().value().size());
  EXPECT_STATUS(status::invalid_argument,
                manager.allocate<no_throw>(pinned_request(1).owned_by("an owner whose name is far too long")));
}

TEST_F(Pinned, OverBudgetOneMayWait) {
  auto all = manager.allocate(400);
  EXPECT_STATUS(status::busy, manager.allocate<no_throw>(pinned_request(1).or_wait(no_wait)));
  EXPECT_STATUS(status::timeout, manager.allocate<no_throw>(pinned_request(1).or_wait(std::chrono::milliseconds(1))));
  std::thread waiter([&] {
    auto block = manager.allocate(pinned_request(400).or_wait(gpubuf::timeout_infinite));
    manager.free(block);
  });
  while (manager.stats().waiters == 0) std::this_thread::yield();
  manager.free(all);
  waiter.join();
  EXPECT_EQ(2u, checked(manager).waits);
}

TEST_F(Pinned, OverBudgetOneMayTakePageableMemory) {
  const auto all = manager.allocate(400);
  auto block = manager.allocate(pinned_request(1000).or_pageable());
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_PLACEMENT_PAGEABLE), block.info().placement);
  EXPECT_EQ(1000u, checked(manager).pageable_bytes);
  EXPECT_EQ(1u, checked(manager).fallbacks);
  block.copy_in(std::vector<char>(1000, 'x'));
  manager.free(block);
  EXPECT_EQ(0u, checked(manager).pageable_bytes);
}

TEST_F(Pinned, TellsOfShortagesAndAsksForACure) {
  std::vector<std::string> told;
  std::vector<gpubuf::block> spare;
  auto tell = [&](const gpubuf::notice& of) {
    told.push_back(std::string(of.owner) + " " + std::to_string(of.bytes) + (of.kind == gpubuf::notice_kind::refused ? " refused" : " else"));
  };
  auto cure = [&](const gpubuf::shortage& of) {
    EXPECT_EQ(gpubuf::shortage_kind::budget, of.kind);
    if (spare.empty()) return false;
    spare.pop_back();
    return true;
  };
  gpubuf::pinned_options options;
  options.budget_bytes = 100;
  const auto asking = gpubuf::pinned::create(device, options, tell, cure);
  spare.push_back(asking.allocate(60));
  const auto block = asking.allocate(100);
  EXPECT_TRUE(told.empty());
  EXPECT_STATUS(status::budget, asking.allocate<no_throw>(pinned_request(7).owned_by("me")));
  EXPECT_EQ(std::vector<std::string>{"me 7 refused"}, told);
  EXPECT_EQ(1u, checked(asking).retries);
}

TEST_F(Pinned, AnExceptionInACallbackIsDroppedAndCounted) {
  auto tell = [](const gpubuf::notice&) { throw 1; };
  auto cure = [](const gpubuf::shortage&) -> bool { throw 2; };
  gpubuf::pinned_options options;
  options.budget_bytes = 0;
  const auto asking = gpubuf::pinned::create(device, options, tell, cure);
  const auto before = gpubuf::dropped_exceptions();
  EXPECT_STATUS(status::budget, asking.allocate<no_throw>(1));
  EXPECT_EQ(before + 2, gpubuf::dropped_exceptions());
}

TEST_F(Pinned, AReservationIsCommittedInPartsOrRolledBack) {
  auto held = manager.reserve(pinned_request(300).owned_by("a"));
  EXPECT_EQ(300u, checked(manager).reserved_bytes);
  EXPECT_EQ(0u, checked(manager).locked_bytes) << "nothing is locked for it yet";
  EXPECT_STATUS(status::budget, manager.allocate<no_throw>(101));
  const auto block = held.commit(200);
  EXPECT_EQ(100u, held.left());
  EXPECT_STATUS(status::invalid_argument, held.commit<no_throw>(101));
  held.roll_back();
  EXPECT_EQ(200u, checked(manager).available_bytes);
  EXPECT_STATUS(status::budget, manager.reserve<no_throw>(201));
  EXPECT_STATUS(status::invalid_argument, manager.reserve<no_throw>(pinned_request(1).or_pageable()));
}

TEST_F(Pinned, IdleMemoryIsGivenBackByTrimAndAllOfItByClear) {
  auto block = manager.allocate(100);
  EXPECT_EQ(0u, manager.trim());
  EXPECT_STATUS(status::busy, manager.clear<no_throw>());
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("1 live blocks"));
  manager.free(block);
  EXPECT_GT(manager.trim(), 0u);
  EXPECT_EQ(0u, checked(manager).locked_bytes);
  manager.allocate(100).give_back();
  manager.clear();
  EXPECT_EQ(0u, checked(manager).slabs);
}

TEST_F(Pinned, TheBudgetCanBeChanged) {
  auto block = manager.allocate(400);
  EXPECT_STATUS(status::budget, manager.set_budget<no_throw>(399));
  manager.set_budget(500);
  EXPECT_OK(manager.allocate<no_throw>(100));
  EXPECT_EQ(500u, checked(manager).budget_bytes);
}

TEST_F(Pinned, BlocksOutliveTheirManager) {
  auto block = manager.allocate(100);
  auto held = manager.reserve(100);
  manager.reset();
  block.copy_in(std::vector<char>(100, 'x'));
  EXPECT_STATUS(status::shut_down, held.commit<no_throw>(50));
  block.give_back();
}

TEST_F(Pinned, DescriptionsAndFiguresTellTheSame) {
  const auto block = manager.allocate(pinned_request(10).owned_by("me"));
  EXPECT_NE(std::string::npos, gpubuf::describe(manager).find("10 bytes in use (me 10 bytes)")) << gpubuf::describe(manager);
  const auto held = manager.reserve(5);
  EXPECT_NE(std::string::npos, gpubuf::describe(held).find("5 bytes of")) << gpubuf::describe(held);
}
