// A decode loop with two kinds of memory that nobody allocates in it: sampling parameters, which the host goes on writing while
// kernels read them, and scratch, which goes from step to step when the work on it is done.
#include <gpubuf/gpubuf.hpp>

#include <cstdint>
#include <cstdio>
#include <vector>

int main() try {
  constexpr std::uint64_t requests = 8, steps = 12;
  auto device = gpubuf::device::open();  // the GPU, or else an emulated one
  auto compute = gpubuf::stream::create(device);

  // Kernels read these blocks in place; the tensor copies only what changed since a block was last up to date.
  auto blocks = gpubuf::pool::create(device, requests * sizeof(float), 3, gpubuf::placement::uva);
  auto temperature = gpubuf::tensor::create<float>(blocks, {requests});
  temperature.fill(1.0f);

  auto workspace = gpubuf::workspace::create(device);
  auto table = workspace.get<std::int32_t>("block_table", {requests, 16});  // by name: the same in every step
  const auto logits = gpubuf::spec::of<float>({requests, 1000}, gpubuf::placement::none);

  for (std::uint64_t step = 0; step < steps; ++step) {
    if (step % 4 == 0) temperature.write(std::vector<float>{0.5f}, step % requests);  // a request came; never waits
    auto scratch = workspace.allocate(logits);                                        // by spec: this step's alone
    const gpubuf::address parameters = temperature.publish(compute);
    const gpubuf::address out = scratch.device_address(compute);
    // Your kernels go here, on `compute`: they read `parameters` and the table, and write `out`.
    static_cast<void>(parameters), static_cast<void>(out);
  }
  compute.synchronize();

  const auto published = temperature.stats();
  const auto used = workspace.stats();
  std::printf("%u publishes copied %u of %u bytes; %u buffers were made for %u steps, %u bytes at most\n",
              static_cast<unsigned>(published.publishes), static_cast<unsigned>(published.copied_bytes),
              static_cast<unsigned>(published.copied_bytes + published.skipped_bytes), static_cast<unsigned>(used.made - 1),
              static_cast<unsigned>(steps), static_cast<unsigned>(used.peak_bytes));
  const bool fine = published.publishes == steps && published.copied_bytes < steps * requests * sizeof(float) &&
                    used.made + used.reused == steps + 1;
  return fine ? 0 : 1;
} catch (const gpubuf::error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
