#include "batcher.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "images.hpp"

namespace decode_replay {
namespace {

constexpr std::uint32_t kUnchanged = UINT32_MAX;

// The next size for which a compiled graph exists.
std::uint32_t graph_size(std::uint32_t size, std::uint32_t maximum) { return std::min((size + 7) / 8 * 8, maximum); }

}  // namespace

BlockAllocator::BlockAllocator(std::uint32_t blocks) : in_use_(blocks, false) {
  free_.reserve(blocks);
  for (std::uint32_t i = blocks; i > 0; --i) {
    free_.push_back(static_cast<std::int32_t>(i - 1));
  }
}

std::int32_t BlockAllocator::allocate() {
  if (free_.empty()) {
    throw std::logic_error("no KV block is free");
  }
  const std::int32_t block = free_.back();
  free_.pop_back();
  in_use_[static_cast<std::size_t>(block)] = true;
  return block;
}

void BlockAllocator::release(std::int32_t block) {
  const auto i = static_cast<std::size_t>(block);
  if (block < 0 || i >= in_use_.size() || !in_use_[i]) {
    throw std::logic_error("KV block " + std::to_string(block) + " is not handed out");
  }
  in_use_[i] = false;
  free_.push_back(block);
}

Batcher::Batcher(const std::vector<Request>& requests, const BatcherOptions& options)
    : requests_(requests),
      options_(options),
      columns_(options.shapes.table_columns()),
      step_ticks_(std::max<std::uint64_t>(
          1, static_cast<std::uint64_t>(std::llround(options.step_ms * static_cast<double>(kTicksPerMs))))),
      blocks_(options.kv_blocks),
      unpromised_blocks_(options.kv_blocks),
      table_(options.shapes.max_batch * columns_),
      changed_from_(options.shapes.max_batch, kUnchanged) {
  if (options.shapes.max_batch == 0 || options.shapes.token_budget < options.shapes.max_batch) {
    // With less, a request in the batch could go without a token in a step.
    throw std::invalid_argument("the token budget must be at least the largest batch, and that at least 1");
  }
  running_.reserve(options.shapes.max_batch);
}

std::uint64_t Batcher::arrival(std::size_t request) const {
  return static_cast<std::uint64_t>(static_cast<double>(requests_[request].arrival_ticks) / options_.speed);
}

std::uint32_t Batcher::blocks_for(std::uint32_t tokens) const {
  return (tokens + options_.shapes.block_size - 1) / options_.shapes.block_size;
}

// Tokens that pass through the model. The answer's last token is never an input.
std::uint64_t Batcher::length_of(std::size_t request) const {
  return std::uint64_t{requests_[request].context_tokens} + std::max(requests_[request].generated_tokens, 1U) - 1;
}

bool Batcher::fits(std::size_t request) const {
  const std::uint64_t length = length_of(request);
  // The last token is no input, but a sequence has it.
  return length + 1 <= options_.shapes.max_seq_len &&
         blocks_for(static_cast<std::uint32_t>(length)) <= options_.kv_blocks;
}

// The number of the request's image, or 0.
std::uint64_t Batcher::image_of(std::size_t request) const {
  const std::uint64_t number = mix(options_.seed ^ mix(~std::uint64_t{request}));
  return requests_[request].context_tokens != 0 && number % 100 < options_.image_percent ? number : 0;
}

bool Batcher::next(StepData& step) {
  batch_changed_ = false;
  changed_from_.assign(changed_from_.size(), kUnchanged);
  arrived_images_.clear();
  retire_finished();
  while (true) {
    if (running_.empty()) {
      if (next_request_ == requests_.size()) {
        return false;
      }
      clock_ = std::max(clock_, arrival(next_request_));  // nothing to do until then
    }
    receive();
    schedule();
    if (!running_.empty()) {
      break;
    }
  }
  build(step);
  clock_ += step_ticks_;
  stats_.virtual_seconds = static_cast<double>(clock_) / static_cast<double>(kTicksPerSecond);
  return true;
}

// Requests whose last token was in the step before leave the batch. The last row moves into the gap: rows stay dense.
void Batcher::retire_finished() {
  for (std::size_t row = running_.size(); row-- > 0;) {
    const Running& gone = running_[row];
    if (gone.computed < gone.length) {
      continue;
    }
    for (std::uint32_t i = 0; i < gone.blocks; ++i) {
      blocks_.release(table_row(row)[i]);
    }
    unpromised_blocks_ += gone.blocks;
    const std::size_t last = running_.size() - 1;
    if (row != last) {
      running_[row] = running_[last];
      std::copy_n(table_row(last), columns_, table_row(row));
      changed_from_[row] = 0;
    }
    running_.pop_back();
    batch_changed_ = true;
    ++stats_.finished;
  }
}

// Requests that have arrived hand over their images.
void Batcher::receive() {
  for (; received_ < requests_.size() && arrival(received_) <= clock_; ++received_) {
    if (arrived_images_.size() == kMaxArrivedImages) {
      break;
    }
    const std::uint64_t image = fits(received_) ? image_of(received_) : 0;
    if (image != 0) {
      arrived_images_.push_back(image);
      ++stats_.images;
      stats_.most_images_waiting = std::max(stats_.most_images_waiting, ++images_waiting_);
    }
  }
}

// Decides how many tokens of which request are in the step: one for each request that decodes, and prompts, in chunks,
// with what is left of the budget. Only the prompt admitted last can be unfinished, so each request gets a token.
void Batcher::schedule() {
  const Shapes& shapes = options_.shapes;
  std::uint32_t budget = shapes.token_budget;
  for (Running& r : running_) {
    r.scheduled = r.computed >= r.context ? 1 : 0;
    budget -= r.scheduled;
  }
  for (Running& r : running_) {
    if (r.computed < r.context) {
      r.scheduled = std::min(budget, r.context - r.computed);
      budget -= r.scheduled;
    }
  }
  while (budget > 0 && next_request_ < received_) {
    if (!fits(next_request_)) {
      ++next_request_;
      ++stats_.too_long;
      continue;
    }
    const auto length = static_cast<std::uint32_t>(length_of(next_request_));
    if (running_.size() == shapes.max_batch) {
      ++stats_.waits_for_batch;
      break;
    }
    // The trace says how long the answer will be, so all blocks are promised here and no request is ever preempted.
    // They are still handed out one by one, so that block-table rows change as they do in a runtime.
    if (blocks_for(length) > unpromised_blocks_) {
      ++stats_.waits_for_blocks;
      break;
    }
    admit(next_request_++, length);
    Running& r = running_.back();
    r.scheduled = std::min(budget, r.context);
    budget -= r.scheduled;
  }
}

void Batcher::admit(std::size_t request, std::uint32_t length) {
  Random random(options_.seed ^ mix(request));
  Running r;
  r.context = requests_[request].context_tokens;
  r.length = length;
  r.seed = static_cast<std::int64_t>(random.next() >> 1U);
  constexpr float temperatures[] = {0.0F, 0.2F, 0.7F, 1.0F};
  r.temperature = temperatures[random.next() % 4];
  r.top_k = static_cast<std::int32_t>(random.next() % 2 == 0 ? 50 : kVocabulary);
  r.top_p = random.next() % 2 == 0 ? 0.95F : 1.0F;
  r.image = image_of(request);
  if (r.image != 0) {
    std::vector<std::uint64_t> pixels(kPixelWords), embeddings(kEmbeddingWords);
    draw_pixels(r.image, pixels.data());
    encode_pixels(pixels.data(), embeddings.data());
    r.image_meaning = meaning_of(embeddings.data());
  }
  unpromised_blocks_ -= blocks_for(length);
  const std::size_t row = running_.size();
  std::fill_n(table_row(row), columns_, 0);
  changed_from_[row] = 0;
  batch_changed_ = true;
  running_.push_back(r);
}

void Batcher::build(StepData& step) {
  const Shapes& shapes = options_.shapes;
  const std::size_t batch = running_.size();
  step.index = stats_.steps;
  step.batch = static_cast<std::uint32_t>(batch);
  step.table_columns = static_cast<std::uint32_t>(columns_);
  step.input_ids.clear();
  step.positions.clear();
  step.slot_mapping.clear();
  step.query_start_loc.clear();
  step.seq_lens.clear();
  step.expected_tokens.clear();
  step.table_blocks.clear();
  step.image_reads.clear();
  for (std::size_t row = 0; row < batch; ++row) {
    build_row(row, step);
  }
  step.tokens = static_cast<std::uint32_t>(step.input_ids.size());
  step.padded_batch = graph_size(step.batch, shapes.max_batch);
  step.padded_tokens = graph_size(step.tokens, shapes.token_budget);
  step.query_start_loc.resize(step.padded_batch + 1, static_cast<std::int32_t>(step.tokens));
  step.seq_lens.resize(step.padded_batch, 0);
  step.slot_mapping.resize(step.padded_tokens, -1);

  step.batch_changed = batch_changed_;
  step.temperature.resize(batch);
  step.top_k.resize(batch);
  step.top_p.resize(batch);
  step.seeds.resize(batch);
  for (std::size_t row = 0; row < batch; ++row) {
    step.temperature[row] = running_[row].temperature;
    step.top_k[row] = running_[row].top_k;
    step.top_p[row] = running_[row].top_p;
    step.seeds[row] = running_[row].seed;
  }
  step.block_table.assign(table_.begin(), table_.begin() + static_cast<std::ptrdiff_t>(batch * columns_));
  step.changed_rows.clear();
  step.changed_cells.clear();
  for (std::uint32_t row = 0; row < step.batch; ++row) {
    if (changed_from_[row] == kUnchanged) {
      continue;
    }
    step.changed_cells.push_back({row, changed_from_[row], step.table_blocks[row] - changed_from_[row]});
    if (!step.changed_rows.empty() && step.changed_rows.back().first + step.changed_rows.back().count == row) {
      ++step.changed_rows.back().count;
    } else {
      step.changed_rows.push_back({row, 1});
    }
  }

  build_images(step);

  ++stats_.steps;
  stats_.batch_sum += batch;
  stats_.batch_max = std::max(stats_.batch_max, step.batch);
  stats_.tokens_sum += step.tokens;
}

void Batcher::build_images(StepData& step) const {
  step.arrived_images = arrived_images_;
  step.pixels.resize(arrived_images_.size() * kPixelWords);
  for (std::size_t i = 0; i < arrived_images_.size(); ++i) {
    draw_pixels(arrived_images_[i], step.pixels.data() + i * kPixelWords);
  }
}

void Batcher::build_row(std::size_t row, StepData& step) {
  Running& r = running_[row];
  const std::uint32_t end = r.computed + r.scheduled;
  for (; r.blocks < blocks_for(end); ++r.blocks) {
    table_row(row)[r.blocks] = blocks_.allocate();
    changed_from_[row] = std::min(changed_from_[row], r.blocks);
  }
  step.table_blocks.push_back(r.blocks);
  step.query_start_loc.push_back(static_cast<std::int32_t>(step.input_ids.size()));
  std::int32_t token = r.last_token;
  for (std::uint32_t position = r.computed; position < end; ++position) {
    if (position < r.context) {
      token = static_cast<std::int32_t>(mix(static_cast<std::uint64_t>(r.seed) + position) % kVocabulary);
    }
    const std::int64_t block = table_row(row)[position / options_.shapes.block_size];
    step.input_ids.push_back(token);
    step.positions.push_back(position);
    step.slot_mapping.push_back(block * options_.shapes.block_size + position % options_.shapes.block_size);
  }
  step.seq_lens.push_back(static_cast<std::int32_t>(end));
  // The host of a runtime learns this token two steps later; the replay has it at once, so that both ways of staging
  // stage the same bytes whatever the device made of them.
  const bool sees_image = r.image != 0 && r.computed < r.context;
  r.last_token = next_token(token, static_cast<std::int64_t>(end) - 1, r.seed, sees_image ? r.image_meaning : 0);
  if (sees_image) {
    step.image_reads.push_back({static_cast<std::uint32_t>(row), r.image, end >= r.context});
    images_waiting_ -= end >= r.context ? 1U : 0U;
  }
  step.expected_tokens.push_back(r.last_token);
  r.computed = end;
}

}  // namespace decode_replay
