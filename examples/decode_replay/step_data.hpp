// What one decode step stages for the device, in the shapes that today's LLM runtimes use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "random.hpp"

namespace decode_replay {

struct Shapes {
  std::uint32_t max_batch = 256;       // requests in a step
  std::uint32_t token_budget = 2048;   // tokens in a step
  std::uint32_t max_seq_len = 16384;   // tokens of a request, prompt and answer
  std::uint32_t block_size = 16;       // tokens in a KV block

  std::uint32_t table_columns() const { return (max_seq_len + block_size - 1) / block_size; }
};

// Runs of neighbouring block-table rows.
struct RowRun {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

// Neighbouring cells of one block-table row.
struct CellRun {
  std::uint32_t row = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

// An image whose embeddings this step's kernels read, as the prompt of row `row` is computed.
struct ImageRead {
  std::uint32_t row = 0;
  std::uint64_t image = 0;
  bool last = false;  // no later step reads it
};

// The inputs of one step as the host means them: the runners stage these bytes, and the check on the device compares
// what arrived with them. Reused from step to step: nothing is allocated once the largest step was seen.
struct StepData {
  std::uint64_t index = 0;
  std::uint32_t batch = 0;          // B: requests in this step
  std::uint32_t tokens = 0;         // T: tokens in this step, of decodes and prefill chunks
  // Compiled graphs exist for some sizes only, so a runtime pads up to the next one; so do we.
  std::uint32_t padded_batch = 0;
  std::uint32_t padded_tokens = 0;

  // Written in every step.
  std::vector<std::int32_t> input_ids;        // [T]
  std::vector<std::int64_t> positions;        // [T]
  std::vector<std::int32_t> query_start_loc;  // [padded_batch + 1], the tail repeats T: it must not decrease
  std::vector<std::int32_t> seq_lens;         // [padded_batch], the tail is 0
  std::vector<std::int64_t> slot_mapping;     // [padded_tokens], the tail is -1

  // Written when the batch changes.
  bool batch_changed = false;
  std::vector<float> temperature;    // [B]
  std::vector<std::int32_t> top_k;   // [B]
  std::vector<float> top_p;          // [B]
  std::vector<std::int64_t> seeds;   // [B]

  // All rows of the batch; only what changed is staged, the rest is on the device already. Kernels read the blocks of
  // the row's sequence, and no cell beyond.
  std::uint32_t table_columns = 0;
  std::vector<std::int32_t> block_table;    // [B, table_columns]
  std::vector<std::uint32_t> table_blocks;  // [B]: cells of each row that kernels read
  std::vector<RowRun> changed_rows;
  std::vector<CellRun> changed_cells;  // the same, to the cell

  // Images of requests that arrived; most of those wait before a step computes their prompt.
  std::vector<std::uint64_t> arrived_images;
  std::vector<std::uint64_t> pixels;  // [arrived, kPixelWords]
  std::vector<ImageRead> image_reads;

  // What each row's sampled token will be if the device sees the inputs above.
  std::vector<std::int32_t> expected_tokens;  // [B]
};

// What a step's kernels see, and the check on the device compares.
enum Input : std::size_t {
  kInputIds,
  kPositions,
  kQueryStartLoc,
  kSeqLens,
  kSlotMapping,
  kTemperature,
  kTopK,
  kTopP,
  kSeeds,
  kBlockTable,
  kImages,
  kActivations,  // what the kernels themselves keep in memory of the step's own, from their start to their end
  kInputCount
};
constexpr std::array<const char*, kInputCount> kInputNames = {
    "input_ids", "positions", "query_start_loc", "seq_lens",    "slot_mapping", "temperature",
    "top_k",     "top_p",     "seeds",           "block_table", "images",       "activations"};

// Every byte of an input that the step's kernels may read. Of the block table all cells of the rows; the last two inputs have
// no bytes here.
struct LiveBytes {
  const void* data = nullptr;
  std::size_t bytes = 0;
};
inline std::array<LiveBytes, kInputCount> live_bytes(const StepData& step) {
  const auto of = [](const auto& v) { return LiveBytes{v.data(), v.size() * sizeof v[0]}; };
  return {of(step.input_ids),   of(step.positions), of(step.query_start_loc), of(step.seq_lens), of(step.slot_mapping),
          of(step.temperature), of(step.top_k),     of(step.top_p),           of(step.seeds),    of(step.block_table),
          LiveBytes{},          LiveBytes{}};
}

constexpr std::uint32_t kVocabulary = 32000;

// Of the memory that a step's kernels need for each token, padding included.
constexpr std::size_t kActivationBytesPerToken = 16;

// The stand-in for the model: the token that follows `token` at `position`. It depends on its inputs alone, so a step
// that saw other inputs hands out another token. `image`: what an image that it sees means, or 0.
inline std::int32_t next_token(std::int32_t token, std::int64_t position, std::int64_t seed, std::uint64_t image = 0) {
  const std::uint64_t a = mix(static_cast<std::uint64_t>(seed) ^ image ^ static_cast<std::uint64_t>(position));
  return static_cast<std::int32_t>(mix(a ^ static_cast<std::uint64_t>(token)) % kVocabulary);
}

}  // namespace decode_replay
