// A decode loop that sends a step while the device works on the last one: two copies of the device memory, steps padded to the
// sizes that graphs were captured for, and hidden states handed over without a copy.
#include <gpubuf/gpubuf.hpp>

#include <cstdint>
#include <cstdio>
#include <numeric>
#include <vector>

int main() try {
  auto device = gpubuf::device::open();  // the GPU, or else an emulated one
  auto copies = gpubuf::stream::create(device), compute = gpubuf::stream::create(device);

  gpubuf::decode_options options;
  options.max_batch = options.max_tokens = 64;
  options.max_seq_len = 256;
  options.depth = options.device_depth = 2;
  auto slots = gpubuf::slots::create_decode(device, options);
  const auto hidden = slots.add<float>("hidden", {64, 8}, gpubuf::slot_kind::dynamic);
  slots.freeze();
  const auto ids = slots.find<std::int32_t>("input_ids");
  const auto positions = slots.find<std::int64_t>("positions");
  const auto mapping = slots.find<std::int64_t>("slot_mapping");
  const auto starts = slots.find<std::int32_t>("query_start_loc");
  const auto lengths = slots.find<std::int32_t>("seq_lens");

  // What the last layer of another model left on the device: the same in every step here.
  auto states = gpubuf::buffer::create<float>(device, {64, 8}, gpubuf::placement::none, gpubuf::placement::device);
  const gpubuf::address from = states.device_address(compute);

  for (std::uint32_t n = 0; n < 8; ++n) {
    const std::size_t batch = 3 + 5 * n;
    std::vector<std::int32_t> tokens(batch, static_cast<std::int32_t>(n)), one(batch, 1), from_to(batch + 1);
    std::vector<std::int64_t> at(batch, n), places(batch);
    std::iota(from_to.begin(), from_to.end(), 0);
    std::iota(places.begin(), places.end(), std::int64_t{0});

    auto step = slots.begin();
    step.write_many({{ids, tokens}, {positions, at}, {mapping, places}, {starts, from_to}, {lengths, one}}, batch);
    const std::uint64_t padded = step.pad_tokens();
    step.bind(hidden, from, padded, compute);
    step.commit(copies, compute);
    // Here the kernels of the step, or the graph of this size and copy, are launched on `compute`.
    std::printf("step %u: %zu tokens padded to %llu, ids at %llx, hidden at %llx\n", n, batch,
                static_cast<unsigned long long>(padded), static_cast<unsigned long long>(step.device_address(ids)),
                static_cast<unsigned long long>(step.device_address(hidden)));
    step.retire();
  }
  device.synchronize();
  const auto stats = slots.stats();
  std::printf("%llu steps, %llu copies, %llu padded rows\n", static_cast<unsigned long long>(stats.steps_committed),
              static_cast<unsigned long long>(stats.copies), static_cast<unsigned long long>(stats.padded_rows));
  return stats.steps_retired == 8 && stats.bindings == 8 ? 0 : 1;
} catch (const gpubuf::error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
