// Continuous batching with chunked prefill and a paged KV cache: turns a trace of requests into steps.
#pragma once

#include <cstdint>
#include <vector>

#include "step_data.hpp"
#include "trace.hpp"

namespace decode_replay {

// Hands out the KV blocks of a finite pool. The block given back last is handed out first, as runtimes do: the bytes
// of a step that is still under way are then the first to be reused, which is where a missing fence hurts.
class BlockAllocator {
 public:
  explicit BlockAllocator(std::uint32_t blocks);
  std::uint32_t free_blocks() const { return static_cast<std::uint32_t>(free_.size()); }
  std::int32_t allocate();        // throws std::logic_error when there is none
  void release(std::int32_t block);  // throws std::logic_error for a block that is not handed out

 private:
  std::vector<std::int32_t> free_;
  std::vector<bool> in_use_;
};

// The most images that a frontend hands over for one step; the rest comes with the next ones.
constexpr std::size_t kMaxArrivedImages = 32;

struct BatcherOptions {
  Shapes shapes;
  std::uint32_t kv_blocks = 16384;
  double step_ms = 20;  // how far a step advances the virtual clock
  double speed = 20;    // arrival times are divided by this
  std::uint64_t seed = 1;
  std::uint32_t image_percent = 25;  // of the requests; the trace has none
};

struct BatcherStats {
  std::uint64_t steps = 0;
  std::uint64_t batch_sum = 0;
  std::uint32_t batch_max = 0;
  std::uint64_t tokens_sum = 0;
  std::uint64_t finished = 0;
  std::uint64_t too_long = 0;          // requests longer than a sequence or than all KV blocks: passed over
  std::uint64_t waits_for_batch = 0;   // steps in which a request waited because the batch was full
  std::uint64_t waits_for_blocks = 0;  // ... because KV blocks were short
  std::uint64_t images = 0;
  std::uint32_t most_images_waiting = 0;  // arrived, and not yet read for the last time
  double virtual_seconds = 0;

  double batch_mean() const { return steps == 0 ? 0 : static_cast<double>(batch_sum) / static_cast<double>(steps); }
};

// Makes the same steps from the same trace and options each time it is run.
class Batcher {
 public:
  // The requests must outlive the batcher.
  Batcher(const std::vector<Request>& requests, const BatcherOptions& options);

  // Fills `step` with the next step, or returns false when every request is answered.
  bool next(StepData& step);

  const BatcherStats& stats() const { return stats_; }
  std::uint32_t free_blocks() const { return blocks_.free_blocks(); }

 private:
  struct Running {
    std::uint32_t context = 0;
    std::uint32_t length = 0;    // tokens that pass through the model: prompt and answer but for the last token
    std::uint32_t computed = 0;  // of those, how many steps before this one took
    std::uint32_t scheduled = 0; // tokens in this step
    std::uint32_t blocks = 0;    // KV blocks handed out so far; they are the first entries of its block-table row
    std::int32_t last_token = 0; // the newest sampled token: the input of the next decode
    std::int64_t seed = 0;
    float temperature = 0;
    std::int32_t top_k = 0;
    float top_p = 0;
    std::uint64_t image = 0;  // 0: it has none
    std::uint64_t image_meaning = 0;
  };

  std::uint64_t arrival(std::size_t request) const;
  std::uint64_t length_of(std::size_t request) const;
  bool fits(std::size_t request) const;
  std::uint64_t image_of(std::size_t request) const;
  std::uint32_t blocks_for(std::uint32_t tokens) const;
  std::int32_t* table_row(std::size_t row) { return table_.data() + row * columns_; }
  void retire_finished();
  void receive();
  void schedule();
  void admit(std::size_t request, std::uint32_t length);
  void build(StepData& step);
  void build_row(std::size_t row, StepData& step);
  void build_images(StepData& step) const;

  const std::vector<Request>& requests_;
  BatcherOptions options_;
  std::size_t columns_;
  std::uint64_t step_ticks_;
  BlockAllocator blocks_;
  std::uint32_t unpromised_blocks_;  // free blocks less those promised to running requests
  std::uint64_t clock_ = 0;          // virtual time in ticks
  std::size_t received_ = 0;         // requests that have arrived, and whose images were handed over
  std::size_t next_request_ = 0;     // requests are served in the order of arrival
  std::vector<std::uint64_t> arrived_images_;
  std::uint32_t images_waiting_ = 0;
  std::vector<Running> running_;     // row i of the batch
  std::vector<std::int32_t> table_;  // [max_batch, columns]
  std::vector<std::uint32_t> changed_from_;  // the first cell of each row that changed; kUnchanged: none did
  bool batch_changed_ = false;
  BatcherStats stats_;
};

}  // namespace decode_replay
