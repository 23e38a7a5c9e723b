// How a decode loop stages its inputs with gpubuf. Read the constructor, then submit(), then take_tokens() and upkeep(): that
// is all there is to it. Images and the memory for activations are in files of their own.
#include "gpubuf_runner.hpp"

#include <chrono>

#include "images.hpp"

namespace decode_replay {

// Once, at start-up. The memory of the inputs is allocated here; staging them allocates, pins and frees nothing.
GpubufRunner::GpubufRunner(const ReplayOptions& options, const Shapes& shapes)
    // An emulated device, as the replay has to look into it. A runtime says gpubuf::backend::cuda or nothing, and wraps
    // the streams it has: gpubuf::stream::wrap_native(device, cuda_stream).
    : device_(gpubuf::device::open()), compute_(gpubuf::stream::create(device_)) {
  if (options.streams == 2) {
    copy_ = gpubuf::stream::create(device_);
  }
  if (device_.info().simulation != 0) {  // a real link has figures of its own
    gpubuf::host::set_link(device_, std::chrono::nanoseconds(options.link_latency_ns), options.link_bytes_per_second);
  }

  // The inputs that every step writes, and those that it may: one block on the device, and one copy. Where the block table
  // may be a slot, too, gpubuf::slots::create_decode has them ready-made.
  gpubuf::slots_options inputs;
  inputs.label = "decode inputs";
  inputs.depth = options.depth;  // two: the host fills one entry while the copy from the other is under way
  inputs.read_back_depth = static_cast<std::uint32_t>(tokens_.size());
  inputs.read_back_bytes = shapes.max_batch * sizeof(std::int32_t);
  slots_ = gpubuf::slots::create(device_, inputs);
  const std::uint64_t batch = shapes.max_batch, tokens = shapes.token_budget;
  input_ids_ = slots_.add<std::int32_t>("input_ids", {tokens});
  positions_ = slots_.add<std::int64_t>("positions", {tokens});
  query_start_loc_ = slots_.add<std::int32_t>("query_start_loc", {batch + 1});
  seq_lens_ = slots_.add<std::int32_t>("seq_lens", {batch});
  slot_mapping_ = slots_.add<std::int64_t>("slot_mapping", {tokens}, gpubuf::slot_kind::required, -1);
  temperature_ = slots_.add<float>("temperature", {batch}, gpubuf::slot_kind::kept);
  top_k_ = slots_.add<std::int32_t>("top_k", {batch}, gpubuf::slot_kind::kept);
  top_p_ = slots_.add<float>("top_p", {batch}, gpubuf::slot_kind::kept);
  seeds_ = slots_.add<std::int64_t>("seeds", {batch}, gpubuf::slot_kind::kept);
  slots_.freeze();

  // The block table is large and a step changes a few cells of it: those are staged, and applied by one copy and one kernel.
  gpubuf::staged_rows_options table;
  table.label = "block table";
  table.dtype = static_cast<std::uint32_t>(gpubuf::dtype_of<std::int32_t>::value);
  table.rows = batch;
  table.row_elements = shapes.table_columns();
  table.max_writes = shapes.max_batch;  // a run of cells in each row, and all of them at the worst
  table.staging_bytes = batch * shapes.table_columns() * sizeof(std::int32_t);
  block_table_ = gpubuf::staged_rows<std::int32_t>::create(device_, table);

  // From here on the device addresses never change: this is where a runtime captures its graphs with them.
  addresses_.inputs = {slots_.device_address(input_ids_),       slots_.device_address(positions_),
                       slots_.device_address(query_start_loc_), slots_.device_address(seq_lens_),
                       slots_.device_address(slot_mapping_),    slots_.device_address(temperature_),
                       slots_.device_address(top_k_),           slots_.device_address(top_p_),
                       slots_.device_address(seeds_),           block_table_.device_address(compute_)};

  // Kernels leave the sampled tokens here. gpubuf cannot see kernels, so it is told on which stream they run.
  sampled_ = gpubuf::buffer::create<std::int32_t>(device_, {shapes.max_batch}, gpubuf::placement::none);
  addresses_.sampled = sampled_.device_address(compute_);

  images_ = Images(device_, options);
  activations_ = Activations(device_, shapes.token_budget);
}

// Every step. Nothing here waits for the device but where all memory of a kind is in use there: each such wait is counted.
void GpubufRunner::submit(const StepData& data, Launcher& kernels) {
  images_.encode_arrived(data, kernels, copy_stream());

  // An entry whose last copy is proven to be over. This is the wait that code by hand forgets.
  gpubuf::step step = slots_.begin();

  // Required slots: written in each step, as long as this step is.
  step.write(input_ids_, data.input_ids);
  step.write(positions_, data.positions);
  step.write(query_start_loc_, data.query_start_loc);  // its tail repeats T, so the scheduler pads it
  step.write(seq_lens_, {data.seq_lens.data(), data.batch});
  step.write(slot_mapping_, {data.slot_mapping.data(), data.tokens});
  // A graph compiled for more rows reads them all. The rest becomes the slot's pad value: 0, and -1 for "no KV slot".
  step.pad(seq_lens_, data.padded_batch);
  step.pad(slot_mapping_, data.padded_tokens);

  // Kept slots: what is not written stays as it was in the last committed step.
  if (data.batch_changed) {
    step.write(temperature_, data.temperature);
    step.write(top_k_, data.top_k);
    step.write(top_p_, data.top_p);
    step.write(seeds_, data.seeds);
  }

  // One copy for all of that. On the device it waits for the kernels of the step before, and compute_ waits for the copy.
  step.commit(copy_stream(), compute_);

  // One more for the block table, in a step that changes it.
  for (const CellRun& cells : data.changed_cells) {
    const std::size_t at = std::size_t{cells.row} * data.table_columns + cells.first;
    block_table_.stage(cells.row, cells.first, {data.block_table.data() + at, cells.count});
  }
  block_table_.apply(compute_);

  images_.begin_reading(data, compute_, addresses_.images);
  gpubuf::buffer activations = activations_.take(data.padded_tokens);
  addresses_.activations = activations.device_address(compute_);
  kernels.launch(compute_, addresses_);
  images_.done_reading(data);

  // The tokens come back behind the kernels, into an entry that is theirs until take_tokens() is through with it.
  tokens_[data.index % tokens_.size()] =
      slots_.read_back<std::int32_t>(step.id(), sampled_, compute_, 0, data.batch);

  // All work that reads this step is queued. The end of the scope would say so too, and it also does in an exception; it
  // gives the activations back behind the kernels.
  step.retire();
}

// Two steps later: waits for the copy of these tokens and for nothing else.
void GpubufRunner::take_tokens(std::uint64_t step, const TakeTokens& take) {
  gpubuf::readback<std::int32_t>& tokens = tokens_[step % tokens_.size()];
  take(tokens.wait());
  tokens.end();
}

// While the device works, and nobody waits. A program whose loop has no such moment gives the device an upkeep thread
// (upkeep_interval_ns of its options).
void GpubufRunner::upkeep() {
  activations_.prewarm();
  if (++upkeeps_ % 8 == 0) {
    device_.maintain();  // pools grow and shrink, tiers move blocks, memory pressure is looked at
  }
}

// Embeddings that went down from device memory.
Runner::Copies GpubufRunner::copies_to_host() const {
  const std::uint64_t demotions = images_.embeddings().stats().demotions;
  return {demotions, demotions * kEmbeddingBytes};
}

}  // namespace decode_replay
