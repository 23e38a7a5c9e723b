#include "../batcher.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>

#include "../images.hpp"

namespace decode_replay {
namespace {

BatcherOptions small() {
  BatcherOptions options;
  options.shapes.max_batch = 8;
  options.shapes.token_budget = 64;
  options.shapes.max_seq_len = 1024;
  options.kv_blocks = 64;
  options.speed = 1;
  options.image_percent = 0;
  return options;
}

std::vector<Request> requests(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<Request> all;
  std::uint64_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto context = static_cast<std::uint32_t>(1 + random.next() % 300);
    all.push_back({at, context, static_cast<std::uint32_t>(random.next() % 40)});
    at += random.next() % (100 * kTicksPerMs);
  }
  return all;
}

TEST(BlockAllocator, NeverHandsOutABlockTwice) {
  BlockAllocator blocks(4);
  std::set<std::int32_t> out;
  for (int i = 0; i < 4; ++i) {
    const std::int32_t block = blocks.allocate();
    EXPECT_TRUE(block >= 0 && block < 4);
    EXPECT_TRUE(out.insert(block).second);
  }
  EXPECT_EQ(blocks.free_blocks(), 0U);
  EXPECT_THROW(blocks.allocate(), std::logic_error);
  blocks.release(2);
  EXPECT_THROW(blocks.release(2), std::logic_error);
  EXPECT_THROW(blocks.release(4), std::logic_error);
  EXPECT_THROW(blocks.release(-1), std::logic_error);
  EXPECT_EQ(blocks.allocate(), 2);
}

TEST(Batcher, StepsAreWithinEveryLimitAndAddUp) {
  const std::vector<Request> all = requests(200, 7);
  const BatcherOptions options = small();
  Batcher batcher(all, options);
  StepData step;
  std::uint64_t tokens = 0;
  std::uint64_t steps = 0;
  bool waited = false;
  std::map<std::int64_t, std::uint32_t> length_of_seed;  // how far each request has come
  while (batcher.next(step)) {
    ASSERT_EQ(step.index, steps++);
    ASSERT_GE(step.batch, 1U);
    ASSERT_LE(step.batch, options.shapes.max_batch);
    ASSERT_GE(step.tokens, step.batch);
    ASSERT_LE(step.tokens, options.shapes.token_budget);
    ASSERT_EQ(step.input_ids.size(), step.tokens);
    ASSERT_EQ(step.positions.size(), step.tokens);
    ASSERT_EQ(step.padded_batch % 8, 0U);
    ASSERT_EQ(step.query_start_loc.size(), step.padded_batch + 1);
    ASSERT_TRUE(std::is_sorted(step.query_start_loc.begin(), step.query_start_loc.end()));
    ASSERT_EQ(step.query_start_loc.front(), 0);
    ASSERT_EQ(step.query_start_loc.back(), static_cast<std::int32_t>(step.tokens));
    ASSERT_EQ(step.seq_lens.size(), step.padded_batch);
    ASSERT_EQ(step.slot_mapping.size(), step.padded_tokens);
    ASSERT_EQ(step.block_table.size(), std::size_t{step.batch} * step.table_columns);
    ASSERT_EQ(step.expected_tokens.size(), step.batch);
    tokens += step.tokens;

    std::set<std::int32_t> blocks;
    for (std::uint32_t row = 0; row < step.batch; ++row) {
      const auto first = static_cast<std::size_t>(step.query_start_loc[row]);
      const auto end = static_cast<std::size_t>(step.query_start_loc[row + 1]);
      ASSERT_LT(first, end) << "a request in the batch got no token";
      const auto seq_len = static_cast<std::uint32_t>(step.seq_lens[row]);
      // Each request goes on where it stopped.
      std::uint32_t& reached = length_of_seed[step.seeds[row]];
      ASSERT_EQ(reached + (end - first), seq_len);
      reached = seq_len;
      const std::int32_t* table = step.block_table.data() + std::size_t{row} * step.table_columns;
      for (std::uint32_t i = 0; i < (seq_len + 15) / 16; ++i) {
        ASSERT_TRUE(table[i] >= 0 && table[i] < static_cast<std::int32_t>(options.kv_blocks));
        ASSERT_TRUE(blocks.insert(table[i]).second) << "block " << table[i] << " is used twice";
      }
      for (std::size_t i = first; i < end; ++i) {
        const std::int64_t position = step.positions[i];
        ASSERT_EQ(position, static_cast<std::int64_t>(seq_len - (end - i)));
        ASSERT_EQ(step.slot_mapping[i], std::int64_t{table[position / 16]} * 16 + position % 16);
      }
      ASSERT_EQ(step.expected_tokens[row],
                next_token(step.input_ids[end - 1], step.positions[end - 1], step.seeds[row]));
    }
    for (std::size_t i = step.tokens; i < step.padded_tokens; ++i) {
      ASSERT_EQ(step.slot_mapping[i], -1);
    }
    for (std::size_t i = step.batch; i < step.padded_batch; ++i) {
      ASSERT_EQ(step.seq_lens[i], 0);
    }
    waited = waited || batcher.stats().waits_for_blocks != 0;
  }
  std::uint64_t wanted = 0;
  for (const Request& r : all) {
    wanted += r.context_tokens + std::max(r.generated_tokens, 1U) - 1;
  }
  EXPECT_EQ(tokens, wanted);
  EXPECT_EQ(batcher.stats().finished, all.size());
  EXPECT_EQ(batcher.stats().tokens_sum, wanted);
  EXPECT_TRUE(waited) << "the pool was never short: the test is too easy";
  EXPECT_EQ(batcher.free_blocks(), options.kv_blocks) << "blocks are left over";
  EXPECT_FALSE(batcher.next(step));
}

// The device keeps the table: what is staged must turn the table of the step before into that of this one.
TEST(Batcher, ChangedRowsAreAllThatChanged) {
  const std::vector<Request> all = requests(200, 11);
  const BatcherOptions options = small();
  Batcher batcher(all, options);
  StepData step;
  const std::size_t columns = options.shapes.table_columns();
  std::vector<std::int32_t> device(options.shapes.max_batch * columns, -7);
  std::vector<std::int64_t> seeds(options.shapes.max_batch, -7);
  std::vector<std::int32_t> by_cells = device;
  std::uint64_t changed_cells = 0;
  std::uint64_t kept_rows = 0;
  std::uint64_t changed_rows = 0;
  while (batcher.next(step)) {
    std::uint32_t next_free = 0;
    for (const RowRun& run : step.changed_rows) {
      ASSERT_GE(run.count, 1U);
      ASSERT_TRUE(run.first >= next_free) << "runs overlap";
      next_free = run.first + run.count + 1;  // neighbours would be one run
      ASSERT_LE(run.first + run.count, step.batch);
      std::copy_n(step.block_table.begin() + static_cast<std::ptrdiff_t>(run.first * columns), run.count * columns,
                  device.begin() + static_cast<std::ptrdiff_t>(run.first * columns));
      changed_rows += run.count;
    }
    ASSERT_TRUE(std::equal(step.block_table.begin(), step.block_table.end(), device.begin()));
    // To the cell: the blocks of each row are there, whatever lies behind them.
    for (const CellRun& run : step.changed_cells) {
      ASSERT_LE(run.first + run.count, step.table_blocks[run.row]);
      const auto at = static_cast<std::ptrdiff_t>(run.row * columns + run.first);
      std::copy_n(step.block_table.begin() + at, run.count, by_cells.begin() + at);
      changed_cells += run.count;
    }
    for (std::uint32_t row = 0; row < step.batch; ++row) {
      ASSERT_EQ(step.table_blocks[row], (static_cast<std::uint32_t>(step.seq_lens[row]) + 15) / 16);
      const auto at = static_cast<std::ptrdiff_t>(row * columns);
      ASSERT_TRUE(std::equal(by_cells.begin() + at, by_cells.begin() + at + step.table_blocks[row],
                             step.block_table.begin() + at));
    }
    if (step.batch_changed) {
      std::copy(step.seeds.begin(), step.seeds.end(), seeds.begin());
    }
    ASSERT_TRUE(std::equal(step.seeds.begin(), step.seeds.end(), seeds.begin()));
    kept_rows += step.batch;
  }
  EXPECT_LT(changed_rows, kept_rows / 2) << "most rows should stay as they are";
  EXPECT_LT(changed_cells, changed_rows * columns / 8) << "most cells of a changed row should stay as they are";
}

TEST(Batcher, AnImageArrivesOnceAndIsReadAsItsPromptIsComputed) {
  std::vector<Request> all = requests(200, 13);
  for (std::size_t i = 50; i < 120; ++i) {
    all[i].arrival_ticks = all[50].arrival_ticks;  // more at once than are handed over for one step
  }
  BatcherOptions options = small();
  options.image_percent = 70;
  Batcher batcher(all, options);
  StepData step;
  std::set<std::uint64_t> arrived, waiting;
  std::size_t most = 0;
  bool chunked = false;
  while (batcher.next(step)) {
    ASSERT_LE(step.arrived_images.size(), kMaxArrivedImages);
    ASSERT_EQ(step.pixels.size(), step.arrived_images.size() * kPixelWords);
    for (const std::uint64_t image : step.arrived_images) {
      ASSERT_TRUE(arrived.insert(image).second);
      waiting.insert(image);
    }
    most = std::max(most, step.arrived_images.size());
    for (const ImageRead& read : step.image_reads) {
      ASSERT_EQ(waiting.count(read.image), 1U);
      ASSERT_LT(read.row, step.batch);
      chunked = chunked || !read.last;
      if (read.last) {
        waiting.erase(read.image);
      }
    }
  }
  EXPECT_EQ(most, kMaxArrivedImages);
  EXPECT_TRUE(chunked);
  EXPECT_TRUE(waiting.empty());
  EXPECT_EQ(arrived.size(), batcher.stats().images);
  EXPECT_GT(batcher.stats().most_images_waiting, kMaxArrivedImages);
  EXPECT_EQ(batcher.stats().finished, all.size());
}

TEST(Batcher, IsTheSameEachTime) {
  const std::vector<Request> all = requests(100, 3);
  BatcherOptions options = small();
  Batcher a(all, options);
  Batcher b(all, options);
  options.seed = 2;
  Batcher other(all, options);
  StepData sa;
  StepData sb;
  StepData so;
  bool differed = false;
  while (a.next(sa)) {
    ASSERT_TRUE(b.next(sb));
    ASSERT_TRUE(other.next(so));
    const auto live_a = live_bytes(sa);
    const auto live_b = live_bytes(sb);
    for (std::size_t i = 0; i < kInputCount; ++i) {
      ASSERT_EQ(live_a[i].bytes, live_b[i].bytes);
      ASSERT_EQ(std::char_traits<char>::compare(static_cast<const char*>(live_a[i].data),
                                                static_cast<const char*>(live_b[i].data), live_a[i].bytes),
                0)
          << kInputNames[i] << " of step " << sa.index;
    }
    differed = differed || sa.input_ids != so.input_ids;
    EXPECT_EQ(sa.slot_mapping, so.slot_mapping) << "the seed changes the ids, not the load";
  }
  EXPECT_FALSE(b.next(sb));
  EXPECT_TRUE(differed);
}

TEST(Batcher, PromptsAreChunkedAndDecodesComeFirst) {
  // One request decodes while a long prompt comes in: each step has its token and a chunk that fills the budget.
  const std::vector<Request> all = {{0, 10, 20}, {1, 200, 1}};
  Batcher batcher(all, small());
  StepData step;
  ASSERT_TRUE(batcher.next(step));
  EXPECT_EQ(step.tokens, 10U);  // the second one arrives a tick later
  std::vector<std::uint32_t> sizes;
  while (batcher.next(step) && step.batch == 2) {
    EXPECT_EQ(step.query_start_loc[1], 1);
    sizes.push_back(step.tokens);
  }
  EXPECT_EQ(sizes, (std::vector<std::uint32_t>{64, 64, 64, 12}));  // 63 + 63 + 63 + 11 = 200
}

TEST(Batcher, TheClockSkipsIdleTimeAndSpeedDividesArrivals) {
  const std::vector<Request> all = {{0, 1, 1}, {1000 * kTicksPerSecond, 1, 1}};
  BatcherOptions options = small();
  options.step_ms = 20;
  options.speed = 10;
  Batcher batcher(all, options);
  StepData step;
  ASSERT_TRUE(batcher.next(step));
  EXPECT_DOUBLE_EQ(batcher.stats().virtual_seconds, 0.02);
  ASSERT_TRUE(batcher.next(step));
  EXPECT_DOUBLE_EQ(batcher.stats().virtual_seconds, 100.02);
  EXPECT_FALSE(batcher.next(step));
  EXPECT_EQ(batcher.stats().steps, 2U);
}

TEST(Batcher, AFullBatchMakesRequestsWait) {
  const std::vector<Request> all(20, Request{0, 1, 5});
  Batcher batcher(all, small());
  StepData step;
  while (batcher.next(step)) {
  }
  EXPECT_EQ(batcher.stats().batch_max, 8U);
  EXPECT_GT(batcher.stats().waits_for_batch, 0U);
  EXPECT_EQ(batcher.stats().finished, 20U);
}

TEST(Batcher, PassesOverWhatNeverFits) {
  // A sequence has 1024 tokens, the pool 64 blocks of 16: as many. The last token of an answer needs no KV.
  const std::vector<Request> all = {
      {0, 1024, 1}, {0, 4294967295U, 4294967295U}, {0, 1023, 1}, {0, 1000, 24}, {0, 1000, 25}};
  Batcher batcher(all, small());
  StepData step;
  while (batcher.next(step)) {
  }
  EXPECT_EQ(batcher.stats().too_long, 3U);
  EXPECT_EQ(batcher.stats().finished, 2U);

  const std::vector<Request> none = {{0, 5000, 1}};
  Batcher nothing(none, small());
  EXPECT_FALSE(nothing.next(step));
  EXPECT_EQ(nothing.stats().too_long, 1U);
}

TEST(Batcher, NoRequestsAreNoSteps) {
  const std::vector<Request> none;
  Batcher batcher(none, small());
  StepData step;
  EXPECT_FALSE(batcher.next(step));
  EXPECT_EQ(batcher.stats().steps, 0U);
  EXPECT_EQ(batcher.stats().batch_mean(), 0);
}

TEST(Batcher, RefusesABudgetBelowTheBatch) {
  const std::vector<Request> none;
  BatcherOptions options = small();
  options.shapes.token_budget = 7;
  EXPECT_THROW(Batcher(none, options), std::invalid_argument);
}

}  // namespace
}  // namespace decode_replay
