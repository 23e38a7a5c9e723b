// A pool that follows its use: a burst of requests makes it grow, a quiet time lets it shrink, and an urgent request gets a
// block from a background job that can do without.
#include <gpubuf/gpubuf.hpp>

#include <cstdio>
#include <utility>
#include <vector>

int main() try {
  auto device = gpubuf::device::open();  // the GPU, or else an emulated one
  auto stream = gpubuf::stream::create(device);

  gpubuf::block background;  // held by a job that can be put off
  auto give_back = [&](gpubuf::give_back_request request) {
    std::printf("asked for block %u by priority %d\n", request.block, request.waiter_priority);
    background.give_back();
  };
  gpubuf::pool_options options;
  options.block_bytes = 1 << 16;
  options.block_count = 2;
  options.max_blocks = 8;
  options.growth_percent = 200;
  options.cool_down_ns = 0;  // for the example: a server would rather wait
  options.device_side = GPUBUF_TWIN_ON_NEED;
  auto pool = gpubuf::pool::create(device, options, give_back);

  background = pool.acquire(gpubuf::no_wait, -1);
  std::vector<gpubuf::block> burst;
  burst.push_back(pool.acquire());
  burst.push_back(pool.acquire(gpubuf::timeout_default, 5));  // none is free: the background job is asked
  const bool asked = !background;

  for (int round = 0; round < 2; ++round) {  // more and more requests, and upkeep in between
    while (auto block = pool.acquire<gpubuf::no_throw>(gpubuf::no_wait)) burst.push_back(std::move(*block));
    device.maintain();
    std::printf("%zu held, %u blocks\n", burst.size(), pool.stats().block_count);
  }
  const auto most = pool.stats().block_count;

  for (auto& block : burst) block.copy_in(std::vector<float>(16, 1.0f)), block.to_device(stream);
  gpubuf::release_after({burst.data(), burst.size()}, stream);  // one fence for all of them
  for (int quiet = 0; quiet < 4; ++quiet) device.maintain();
  const auto stats = pool.stats();
  std::printf("quiet: %u blocks, at most %u were held, %u acquires of %u found none\n", stats.block_count, stats.peak_held,
              static_cast<unsigned>(stats.contended_acquires), static_cast<unsigned>(stats.acquires));
  return asked && most == 8 && stats.block_count == 2 ? 0 : 1;
} catch (const gpubuf::error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
