// How a decode loop stages its inputs with gpubuf. Read the constructor, then submit(), then take_tokens(): that is all
// there is to it.
#include "gpubuf_runner.hpp"

#include <chrono>

namespace decode_replay {

// Once, at start-up. Everything is allocated here; no step allocates, pins or frees memory.
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

  // The inputs of a decoder come ready-made. Slots of your own go in with slots_.add<T>(name, shape) before freeze().
  gpubuf::decode_options decode;
  decode.label = "decode inputs";
  decode.max_batch = shapes.max_batch;
  decode.max_tokens = shapes.token_budget;
  decode.max_seq_len = shapes.max_seq_len;
  decode.block_size = shapes.block_size;
  decode.depth = options.depth;  // two: the host fills one entry while the copy from the other is under way
  decode.read_back_depth = static_cast<std::uint32_t>(tokens_.size());
  decode.read_back_bytes = shapes.max_batch * sizeof(std::int32_t);
  slots_ = gpubuf::slots::create_decode(device_, decode);
  slots_.freeze();

  // Slots by name, with their type checked once. Slots made with add() come with it.
  input_ids_ = slots_.find<std::int32_t>("input_ids");
  positions_ = slots_.find<std::int64_t>("positions");
  query_start_loc_ = slots_.find<std::int32_t>("query_start_loc");
  seq_lens_ = slots_.find<std::int32_t>("seq_lens");
  slot_mapping_ = slots_.find<std::int64_t>("slot_mapping");
  temperature_ = slots_.find<float>("temperature");
  top_k_ = slots_.find<std::int32_t>("top_k");
  top_p_ = slots_.find<float>("top_p");
  seeds_ = slots_.find<std::int64_t>("seeds");
  block_table_ = slots_.find<std::int32_t>("block_table");

  // From here on the device addresses never change: this is where a runtime captures its graphs with them.
  addresses_.inputs = {slots_.device_address(input_ids_),       slots_.device_address(positions_),
                       slots_.device_address(query_start_loc_), slots_.device_address(seq_lens_),
                       slots_.device_address(slot_mapping_),    slots_.device_address(temperature_),
                       slots_.device_address(top_k_),           slots_.device_address(top_p_),
                       slots_.device_address(seeds_),           slots_.device_address(block_table_)};

  // Kernels leave the sampled tokens here. gpubuf cannot see kernels, so it is told on which stream they run.
  sampled_ = gpubuf::buffer::create<std::int32_t>(device_, {shapes.max_batch}, gpubuf::placement::none);
  addresses_.sampled = sampled_.device_address(compute_);
}

// Every step. Nothing here waits for the device, but for begin() when all staging entries still are copied from.
void GpubufRunner::submit(const StepData& data, Launcher& kernels) {
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
  const std::size_t columns = data.table_columns;
  for (const RowRun& rows : data.changed_rows) {
    step.write(block_table_, {data.block_table.data() + rows.first * columns, rows.count * columns}, rows.first);
  }

  // One copy for all of that, and one more for the block table if rows of it changed, or a few where those rows lie far
  // apart. On the device the copies wait for the kernels of the step before, and compute_ waits for the copies.
  step.commit(copy_stream(), compute_);

  kernels.launch(compute_, addresses_);

  // The tokens come back behind the kernels, into an entry that is theirs until take_tokens() is through with it.
  tokens_[data.index % tokens_.size()] =
      slots_.read_back<std::int32_t>(step.id(), sampled_, compute_, 0, data.batch);

  // All work that reads this step is queued. The end of the scope would say so too, and it also does in an exception.
  step.retire();
}

// Two steps later: waits for the copy of these tokens and for nothing else.
void GpubufRunner::take_tokens(std::uint64_t step, const TakeTokens& take) {
  gpubuf::readback<std::int32_t>& tokens = tokens_[step % tokens_.size()];
  take(tokens.wait());
  tokens.end();
}

}  // namespace decode_replay
