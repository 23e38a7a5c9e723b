// The claim of the replay, without luck: the copy stream is held shut while the host stages the next step.
#include "../replay.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <thread>

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
    batcher_.image_percent = 50;
    // A held stream gives nothing back: there is room for what two steps take.
    replay_.uploads = replay_.max_uploads = 2 * kMaxArrivedImages;
    replay_.device_embeddings = 1024;
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
        wrong_inputs_[step] = start | end;
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

  // The same, but held in another thread's name, and opened by another thread while the next step is staged: what waits for
  // it waits, and is no deadlock.
  Hooks open_while_the_next_is_staged(Runner& runner) {
    Hooks hooks;
    hooks.before_submit = [this, &runner](std::uint64_t step) {
      if (step % 2 == 0) {
        runner.device().synchronize();
        std::thread([this, &runner] { held_ = gpubuf::host::hold(runner.copy_stream()); }).join();
      } else {
        opener_ = std::thread([this] { held_.release(); });
      }
    };
    hooks.after_submit = [this](std::uint64_t step) {
      if (step % 2 == 1) {
        opener_.join();
      }
    };
    return hooks;
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
  std::map<std::uint64_t, std::uint32_t> wrong_inputs_;  // of wrong steps, as bits
  gpubuf::host::held held_;
  std::thread opener_;
};

TEST_P(Replay, UnfencedEveryOvertakenStepIsWrong) {
  ByHandRunner runner(replay_, batcher_.shapes, Fence::kNone);
  Steps even;
  for (std::uint64_t step = 0; step < replay_.max_steps; step += 2) {
    even.insert(step);
  }
  const Steps wrong = run(runner, hold_even_steps(runner));
  bool images_stay_wrong = false;
  for (const std::uint64_t step : wrong) {
    if (even.erase(step) == 0) {
      images_stay_wrong = true;
      // Nothing overtook this one, but it reads what the encoder made of pixels of another image.
      EXPECT_EQ(wrong_inputs_[step], 1U << kImages) << "step " << step;
    }
  }
  EXPECT_EQ(even, Steps{}) << "these were overtaken, and right";
  EXPECT_TRUE(images_stay_wrong);
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

TEST_P(Replay, UnfencedIsRightWhereTheHostWaitsForTheDevice) {
  // The check itself: where every step comes to rest before the next is staged, the same code is right.
  ByHandRunner runner(replay_, batcher_.shapes, Fence::kNone);
  Hooks hooks;
  hooks.before_submit = [&](std::uint64_t) { runner.device().synchronize(); };
  EXPECT_EQ(run(runner, hooks), Steps{});
}

TEST_P(Replay, OneEventAStepIsRight) {
  ByHandRunner runner(replay_, batcher_.shapes, Fence::kEvent);
  EXPECT_EQ(run(runner, open_while_the_next_is_staged(runner)), Steps{});
}

TEST_P(Replay, OneEventAStepWaitsWhereGpubufHasAnotherEntry) {
  // The copies of the even step are held when the next one is to be staged. By hand there is one set of arrays, and an event
  // that says that they are still read.
  ByHandRunner by_hand(replay_, batcher_.shapes, Fence::kEvent);
  std::uint64_t looked = 0;
  Hooks hooks = hold_even_steps(by_hand);
  const auto before = hooks.before_submit;
  hooks.before_submit = [&](std::uint64_t step) {
    if (step % 2 == 1) {
      EXPECT_FALSE(by_hand.copied().is_complete());
      ++looked;
      held_.release();  // it would wait for ever
    }
    before(step);
  };
  EXPECT_EQ(run(by_hand, hooks), Steps{});
  EXPECT_EQ(looked, replay_.max_steps / 2);

  GpubufRunner with_gpubuf(replay_, batcher_.shapes);
  looked = 0;
  hooks = hold_even_steps(with_gpubuf);
  const auto also_before = hooks.before_submit;
  hooks.before_submit = [&](std::uint64_t step) {
    if (step % 2 == 1) {
      EXPECT_EQ(with_gpubuf.slots().begin<gpubuf::no_throw>(gpubuf::no_wait).status(), gpubuf::status::ok);
      ++looked;
    }
    also_before(step);
  };
  EXPECT_EQ(run(with_gpubuf, hooks), Steps{});
  EXPECT_EQ(looked, replay_.max_steps / 2);
}

TEST_P(Replay, GpubufIsRightAtAnyPace) {
  // Hardly any memory for images: uploads are waited for, and embeddings go down and come back.
  replay_.uploads = 1;
  replay_.max_uploads = 4;
  replay_.device_embeddings = 4;
  GpubufRunner runner(replay_, batcher_.shapes);
  gpubuf::host::set_delay(runner.device(), {}, 7, std::chrono::microseconds(100));
  replay_.max_steps = 100;
  ReplayResult result;
  EXPECT_EQ(run(runner, {}, &result), Steps{});
  EXPECT_GT(result.batch.images, 4U);
  // One copy a step, one more in steps that change the block table, one for each image, and those of embeddings that go up.
  const auto embeddings = runner.images().embeddings().stats();
  EXPECT_EQ(result.copies, result.steps + runner.block_table().stats().copies + runner.images().uploads().stats().acquires +
                               embeddings.promotions);
  EXPECT_LE(runner.block_table().stats().copies, result.steps);
  EXPECT_GT(embeddings.promotions, 0U);
}

TEST_P(Replay, EveryWayStagesTheSameSteps) {
  ReplayResult by_hand, with_gpubuf;
  replay_.max_steps = 60;
  {
    ByHandRunner runner(replay_, batcher_.shapes, Fence::kEvent);
    EXPECT_EQ(run(runner, {}, &by_hand), Steps{});
  }
  GpubufRunner runner(replay_, batcher_.shapes);
  EXPECT_EQ(run(runner, {}, &with_gpubuf), Steps{});
  EXPECT_EQ(by_hand.batch.tokens_sum, with_gpubuf.batch.tokens_sum);
  EXPECT_EQ(by_hand.batch.images, with_gpubuf.batch.images);
  EXPECT_LT(with_gpubuf.copies * 2, by_hand.copies);
  EXPECT_LT(with_gpubuf.copied_bytes, by_hand.copied_bytes);
}

INSTANTIATE_TEST_SUITE_P(, Replay,
                         testing::Values(Case{false, 2}, Case{false, 1}, Case{true, 2}, Case{true, 1}),
                         [](const testing::TestParamInfo<Case>& test) { return name_of(test.param); });

}  // namespace
}  // namespace decode_replay
