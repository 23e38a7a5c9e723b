// The claim of the replay, without luck: the copy stream is held shut while the host stages the next step.
#include "../replay.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <set>
#include <string>

#include "../by_hand_runner.hpp"
#include "../gpubuf_runner.hpp"

namespace decode_replay {
namespace {

using Steps = std::set<std::uint64_t>;

struct Case {
  bool shared;  // the shared trace, or generated arrivals
  std::uint32_t streams;
};

std::string name_of(const Case& c) {
  return std::string(c.shared ? "SharedTrace" : "GeneratedArrivals") + (c.streams == 2 ? "TwoStreams" : "OneStream");
}

void PrintTo(const Case& c, std::ostream* out) { *out << name_of(c); }

class Replay : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (GetParam().shared) {
      if (!std::ifstream(DECODE_REPLAY_SHARED_TRACE)) {
        GTEST_SKIP() << "no shared trace";
      }
      trace_ = read_trace_file(DECODE_REPLAY_SHARED_TRACE);
    } else {
      trace_ = generate_trace(1, 500);
    }
    std::cout << "arrivals: " << trace_.source << "\n";
    // Small, so that the test is quick under tools; the load is the trace's own.
    batcher_.shapes.max_batch = 32;
    batcher_.shapes.token_budget = 512;
    batcher_.kv_blocks = 2048;
    replay_.streams = GetParam().streams;
    replay_.compute_ns = 20'000;
    replay_.max_steps = 40;
  }

  // Runs with `hooks` and gathers the steps that were wrong.
  Steps run(Runner& runner, Hooks hooks, ReplayResult* result = nullptr) {
    Steps wrong;
    hooks.checked = [&](std::uint64_t step, std::uint32_t start, std::uint32_t end) {
      if ((start | end) != 0) {
        wrong.insert(step);
      }
      EXPECT_EQ(start, end) << "step " << step << " changed under its kernels: the device side is not ordered";
    };
    Batcher batcher(trace_.requests, batcher_);
    const ReplayResult r = replay(runner, batcher, replay_, hooks);
    EXPECT_EQ(r.steps, replay_.max_steps);
    EXPECT_EQ(r.wrong_steps, wrong.size());
    EXPECT_EQ(r.host_ns.size(), r.steps);
    EXPECT_EQ(r.wrong_tokens == 0, wrong.empty());
    if (result != nullptr) {
      *result = r;
    }
    return wrong;
  }

  // Even steps are submitted to a stream that is held shut, and stay there while the next step is staged and submitted.
  // Then both run. Before the next pair the device comes to rest, so that an odd step is never overtaken.
  Hooks hold_even_steps(Runner& runner) {
    Hooks hooks;
    hooks.before_submit = [this, &runner](std::uint64_t step) {
      if (step % 2 == 0) {
        runner.device().synchronize();
        held_ = gpubuf::host::hold(runner.copy_stream());
      }
    };
    hooks.after_submit = [this](std::uint64_t step) {
      if (step % 2 == 1) {
        held_.release();
      }
    };
    return hooks;
  }

  Trace trace_;
  BatcherOptions batcher_;
  ReplayOptions replay_;
  gpubuf::host::held held_;
};

TEST_P(Replay, ByHandEveryOvertakenStepIsWrong) {
  ByHandRunner runner(replay_, batcher_.shapes);
  Steps even;
  for (std::uint64_t step = 0; step < replay_.max_steps; step += 2) {
    even.insert(step);
  }
  EXPECT_EQ(run(runner, hold_even_steps(runner)), even);
}

TEST_P(Replay, WithGpubufTheSameScriptHasNoWrongStep) {
  GpubufRunner runner(replay_, batcher_.shapes);
  Hooks hooks = hold_even_steps(runner);
  const auto release = hooks.after_submit;
  std::uint64_t busy = 0;
  hooks.after_submit = [&](std::uint64_t step) {
    if (step % 2 == 1) {
      // Both entries have copies that did not run, and the next step would be a third: there is none to write to.
      auto third = runner.slots().begin<gpubuf::no_throw>(gpubuf::no_wait);
      EXPECT_EQ(third.status(), gpubuf::status::busy);
      ++busy;
    }
    release(step);
  };
  EXPECT_EQ(run(runner, hooks), Steps{});
  EXPECT_EQ(busy, replay_.max_steps / 2);
}

TEST_P(Replay, WithAThirdEntryGpubufHandsThatOut) {
  replay_.depth = 3;
  GpubufRunner runner(replay_, batcher_.shapes);
  Hooks hooks = hold_even_steps(runner);
  const auto release = hooks.after_submit;
  hooks.after_submit = [&](std::uint64_t step) {
    if (step % 2 == 1) {
      auto third = runner.slots().begin<gpubuf::no_throw>(gpubuf::no_wait);
      EXPECT_EQ(third.status(), gpubuf::status::ok);
    }
    release(step);
  };
  EXPECT_EQ(run(runner, hooks), Steps{});
}

TEST_P(Replay, ByHandIsRightWhereTheHostWaitsForTheDevice) {
  // The check itself: where every step comes to rest before the next is staged, the same code is right.
  ByHandRunner runner(replay_, batcher_.shapes);
  Hooks hooks;
  hooks.before_submit = [&](std::uint64_t) { runner.device().synchronize(); };
  EXPECT_EQ(run(runner, hooks), Steps{});
}

TEST_P(Replay, GpubufIsRightAtAnyPace) {
  GpubufRunner runner(replay_, batcher_.shapes);
  gpubuf::host::set_delay(runner.device(), {}, 7, std::chrono::microseconds(100));
  replay_.max_steps = 100;
  ReplayResult result;
  EXPECT_EQ(run(runner, {}, &result), Steps{});
  // One copy a step, and one more in steps that change rows of the block table (or a few, where those lie far apart).
  EXPECT_GE(result.copies, result.steps);
  EXPECT_LE(result.copies, result.steps * 4);
  EXPECT_GT(result.copied_bytes, 0U);
}

INSTANTIATE_TEST_SUITE_P(, Replay,
                         testing::Values(Case{false, 2}, Case{false, 1}, Case{true, 2}, Case{true, 1}),
                         [](const testing::TestParamInfo<Case>& test) { return name_of(test.param); });

}  // namespace
}  // namespace decode_replay
