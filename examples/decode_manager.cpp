// One call makes what a decode loop works with: the slots of a step's inputs, tiers whose budgets they share with the key-value
// blocks, and a predictor of the steps' sizes, which has scratch memory made ahead.
#include <gpubuf/gpubuf.hpp>

#include <cstdint>
#include <cstdio>
#include <utility>
#include <vector>

int main() try {
  constexpr std::uint64_t block_bytes = 64 << 10;
  auto device = gpubuf::device::open();  // the GPU, or else an emulated one
  auto compute = gpubuf::stream::create(device);

  gpubuf::tiers_options budgets;
  budgets.device_bytes = 1 << 20;
  budgets.pinned_bytes = 2 << 20;
  budgets.pageable_bytes = 4 << 20;
  const gpubuf::predictor_options predictive;
  gpubuf::decode_options options;
  options.max_batch = 16;
  options.max_tokens = 512;
  options.max_seq_len = 1024;
  options.tiered = &budgets;
  options.predictive = &predictive;
  auto slots = gpubuf::slots::create_decode(device, options);
  slots.freeze();
  auto tiers = slots.tiers();
  const auto predictor = slots.predictor();
  const auto ids = slots.find<std::int32_t>("input_ids");
  const auto positions = slots.find<std::int64_t>("positions"), mapping = slots.find<std::int64_t>("slot_mapping");
  const auto starts = slots.find<std::int32_t>("query_start_loc"), lengths = slots.find<std::int32_t>("seq_lens");

  // More blocks than the slots leave room for in device memory: the others are a tier below.
  std::vector<gpubuf::tiered_block> cache;
  for (int i = 0; i < 24; ++i) cache.push_back(tiers.create_block(block_bytes));

  auto scratch = gpubuf::workspace::create(device);
  const auto logits = [](std::uint64_t tokens) { return gpubuf::spec::of<float>({tokens, 1000}, gpubuf::placement::none); };
  std::uint32_t made_in_steps = 0;
  for (std::uint32_t step = 0; step < 200; ++step) {
    // Decode steps of a few sizes, and a prefill now and then.
    const std::size_t tokens = step % 20 == 19 ? 300 : 6 + step % 4;
    const std::vector<std::int32_t> token(tokens, 1);
    const std::vector<std::int64_t> place(tokens, 0);
    auto now = slots.begin();
    now.write_many({{ids, token}, {positions, place}, {mapping, place}}, tokens);
    now.write(starts, {0, static_cast<std::int32_t>(tokens)});
    now.write(lengths, {static_cast<std::int32_t>(tokens)});
    const std::uint64_t padded = now.pad_tokens();
    now.commit(compute);  // the predictor hears of the padded size
    const auto before = scratch.stats().made;
    {
      auto use = cache[step % cache.size()].acquire(compute);
      auto out = scratch.allocate(logits(padded));
      static_cast<void>(use.device_address()), static_cast<void>(out.device_address(compute));  // launch(..., compute)
    }
    made_in_steps += static_cast<std::uint32_t>(scratch.stats().made - before);
    now.retire();
    // Between steps, where nobody waits.
    compute.synchronize();
    if (step % 50 == 49) scratch.clear();  // as memory pressure does
    predictor.prewarm([&](std::uint64_t size) {
      const auto made = scratch.stats().made;
      static_cast<void>(scratch.allocate(logits(size)));
      return scratch.stats().made == made ? 0 : logits(size).bytes().both();
    });
    device.maintain();
  }
  const auto device_tier = tiers.tier(gpubuf::placement::device);
  const auto predicted = predictor.stats();
  std::printf("%u of %u steps had a size that was predicted; %u buffers were made in steps, of %u\n",
              static_cast<unsigned>(predicted.hits), static_cast<unsigned>(predicted.predictions), made_in_steps,
              static_cast<unsigned>(scratch.stats().made));
  std::printf("device memory: %u of %u KiB, of which the slots have %u and %u blocks of the cache the rest\n",
              static_cast<unsigned>(device_tier.used_bytes >> 10), static_cast<unsigned>(device_tier.budget_bytes >> 10),
              static_cast<unsigned>(slots.stats().device_bytes >> 10), static_cast<unsigned>(device_tier.blocks));
  const bool fine = device_tier.used_bytes <= device_tier.budget_bytes && predicted.hits > 180 && made_in_steps < scratch.stats().made;
  return fine ? 0 : 1;
} catch (const gpubuf::error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
