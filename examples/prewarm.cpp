// Blocks that are there before they are wanted: the sizes of past steps tell which ones, and upkeep between steps makes them.
#include <gpubuf/gpubuf.hpp>

#include <cstdio>
#include <vector>

int main() try {
  auto device = gpubuf::device::open();  // the GPU, or else an emulated one
  const auto make_pool = [&](std::uint64_t block_bytes) {
    gpubuf::pool_options options;
    options.block_bytes = block_bytes;
    options.block_count = 1;
    options.max_blocks = 4;
    options.device_side = GPUBUF_TWIN_ON_NEED;
    return gpubuf::pool::create(device, options);
  };
  const auto small = make_pool(16 << 10), large = make_pool(256 << 10);
  const auto predictor = gpubuf::predictor::create(device);

  // Decode steps, and a prefill after every fourth. Steps overlap: each holds its block while the next one begins.
  gpubuf::block last;
  for (std::uint64_t step = 0; step < 400; ++step) {
    const std::uint64_t bytes = step % 5 == 4 ? 200 << 10 : (8 + step % 5) << 10;
    predictor.record(bytes);
    last = (bytes > small.stats().block_bytes ? large : small).acquire(gpubuf::no_wait);
    // Between steps, where nobody waits.
    predictor.prewarm(small);
    predictor.prewarm(large, small.stats().block_bytes);
  }
  const auto stats = predictor.stats();
  std::printf("%u of %u steps were predicted\n%s", static_cast<unsigned>(stats.hits), static_cast<unsigned>(stats.predictions),
              predictor.suggest().c_str());
  std::printf("blocks: %u small, %u large; acquires that found none: %u\n", small.stats().block_count, large.stats().block_count,
              static_cast<unsigned>(small.stats().contended_acquires + large.stats().contended_acquires));
  return stats.hits > 350 && small.stats().contended_acquires == 0 && large.stats().contended_acquires == 0 ? 0 : 1;
} catch (const gpubuf::error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
