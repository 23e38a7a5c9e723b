#include "by_hand_runner.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "batcher.hpp"

namespace decode_replay {

ByHandRunner::ByHandRunner(const ReplayOptions& options, const Shapes& shapes, Fence fence)
    : fence_(fence), device_(gpubuf::device::open()), compute_(gpubuf::stream::create(device_)) {
  if (options.streams == 2) {
    copy_ = gpubuf::stream::create(device_);
  }
  if (device_.info().simulation != 0) {  // a real link has figures of its own
    gpubuf::host::set_link(device_, std::chrono::nanoseconds(options.link_latency_ns), options.link_bytes_per_second);
  }
  copied_ = gpubuf::event::create(device_);
  kernels_done_ = gpubuf::event::create(device_);

  const std::uint64_t batch = shapes.max_batch;
  const std::uint64_t tokens = shapes.token_budget;
  input_ids_ = make_array<std::int32_t>(tokens);
  positions_ = make_array<std::int64_t>(tokens);
  query_start_loc_ = make_array<std::int32_t>(batch + 1);
  seq_lens_ = make_array<std::int32_t>(batch);
  slot_mapping_ = make_array<std::int64_t>(tokens);
  temperature_ = make_array<float>(batch);
  top_k_ = make_array<std::int32_t>(batch);
  top_p_ = make_array<float>(batch);
  seeds_ = make_array<std::int64_t>(batch);
  block_table_ = make_array<std::int32_t>(batch * shapes.table_columns());
  addresses_.inputs = {input_ids_.device,    positions_.device, query_start_loc_.device, seq_lens_.device,
                       slot_mapping_.device, temperature_.device, top_k_.device,         top_p_.device,
                       seeds_.device,        block_table_.device};
  pixels_ = make_array<std::uint64_t>(kMaxArrivedImages * kPixelWords);
  activations_ = gpubuf::buffer::create<std::uint8_t>(device_, {tokens * kActivationBytesPerToken}, gpubuf::placement::none);
  addresses_.activations = activations_.device_address(compute_);
  for (Output& output : outputs_) {
    output.tokens = make_array<std::int32_t>(batch);
    output.ready = gpubuf::event::create(device_);
  }
}

void ByHandRunner::submit(const StepData& step, Launcher& kernels) {
  if (fence_ == Fence::kEvent && step.index != 0) {
    copied_.wait();  // for the copies of the step before: they read the host side
  }
  copy_stream().wait_event(kernels_done_);  // of the step before: they read the device side

  upload_changed_rows(step);  // first, as it is the largest
  if (step.batch_changed) {
    upload(temperature_, step.temperature);
    upload(top_k_, step.top_k);
    upload(top_p_, step.top_p);
    upload(seeds_, step.seeds);
  }
  upload(input_ids_, step.input_ids);
  upload(positions_, step.positions);
  upload(query_start_loc_, step.query_start_loc);
  upload(seq_lens_, step.seq_lens);
  upload(slot_mapping_, step.slot_mapping);
  encode_images(step, kernels);
  find_images(step);

  copied_.record(copy_stream());
  compute_.wait_event(copied_);
  Output& output = outputs_[step.index % outputs_.size()];
  addresses_.sampled = output.tokens.device;
  kernels.launch(compute_, addresses_);
  kernels_done_.record(compute_);
  forget_images(step);

  output.count = step.batch;
  output.tokens.buffer.to_host(compute_, 0, output.count);
  output.ready.record(compute_);
}

void ByHandRunner::take_tokens(std::uint64_t step, const TakeTokens& take) {
  Output& output = outputs_[step % outputs_.size()];
  output.ready.wait();
  take({output.tokens.host, output.count});
}

// Writes the array in place and queues its copy. Unfenced this is the bug that ships: the copy of the step before may not
// have read the array yet, and nothing asks. With a copy stream that keeps up it nearly always has, until it has not.
template <class T>
void ByHandRunner::upload(PinnedArray<T>& to, const std::vector<T>& values) {
  std::copy(values.begin(), values.end(), to.host);
  to.buffer.to_device(copy_stream(), 0, values.size());
}

// The rows that changed, with one copy from the first of them to the last.
void ByHandRunner::upload_changed_rows(const StepData& step) {
  if (step.changed_rows.empty()) {
    return;
  }
  const std::size_t columns = step.table_columns;
  for (const RowRun& run : step.changed_rows) {
    std::copy_n(step.block_table.data() + run.first * columns, run.count * columns,
                block_table_.host + run.first * columns);
  }
  const std::size_t first = step.changed_rows.front().first;
  const std::size_t end = std::size_t{step.changed_rows.back().first} + step.changed_rows.back().count;
  block_table_.buffer.to_device(copy_stream(), first * columns, (end - first) * columns);
}

// The images of a step in one copy; then the encoder, on the same stream.
void ByHandRunner::encode_images(const StepData& step, Launcher& kernels) {
  if (step.arrived_images.empty()) {
    return;
  }
  upload(pixels_, step.pixels);
  for (std::size_t i = 0; i < step.arrived_images.size(); ++i) {
    if (free_embeddings_.empty()) {  // more wait than ever before
      constexpr std::size_t more = 64;
      gpubuf::buffer memory =
          gpubuf::buffer::create<std::uint8_t>(device_, {more * kEmbeddingBytes}, gpubuf::placement::none);
      const gpubuf::address first = memory.device_address({copy_stream(), compute_});
      for (std::size_t place = more; place-- > 0;) {
        free_embeddings_.push_back(first + place * kEmbeddingBytes);
      }
      embedding_memory_.push_back(std::move(memory));
    }
    const gpubuf::address to = free_embeddings_.back();
    free_embeddings_.pop_back();
    embeddings_[step.arrived_images[i]] = to;
    kernels.encode(copy_stream(), pixels_.device + i * kPixelBytes, to);
  }
}

void ByHandRunner::find_images(const StepData& step) {
  addresses_.images.clear();
  for (const ImageRead& read : step.image_reads) {
    addresses_.images.push_back(embeddings_.at(read.image));
  }
}

// The places of embeddings that no later step reads. The next encoder comes behind this step's kernels.
void ByHandRunner::forget_images(const StepData& step) {
  for (const ImageRead& read : step.image_reads) {
    if (read.last) {
      const auto at = embeddings_.find(read.image);
      free_embeddings_.push_back(at->second);
      embeddings_.erase(at);
    }
  }
}

template <class T>
ByHandRunner::PinnedArray<T> ByHandRunner::make_array(std::uint64_t count) const {
  PinnedArray<T> array;
  array.buffer = gpubuf::buffer::create<T>(device_, {count});
  // From here on the library knows neither who writes the host side nor, as no stream is named, who uses the device
  // side. It orders and checks nothing for us: that is what "by hand" means.
  array.host = static_cast<T*>(array.buffer.host_ptr_unfenced());
  array.device = array.buffer.device_address(gpubuf::unnamed);
  // Said once, of no work at all: the library takes it that nobody else uses it, and lets us copy from now on.
  array.buffer.used_on(compute_, gpubuf::access::read);
  return array;
}

}  // namespace decode_replay
