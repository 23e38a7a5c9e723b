// The decode loop around either way of staging, with the check on the device that tells whether a step was right.
#pragma once

#include <gpubuf/gpubuf.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "batcher.hpp"
#include "step_data.hpp"

namespace decode_replay {

struct ReplayOptions {
  std::uint64_t max_steps = 20'000;
  std::uint64_t compute_ns = 200'000;  // what a step's kernels take
  // A copy takes the latency and then its bytes at the rate of the link: PCIe 5 x16, about.
  std::uint64_t link_latency_ns = 6'000;
  std::uint64_t link_bytes_per_second = 50'000'000'000;
  std::uint32_t streams = 2;  // 1: copies go on the compute stream
  std::uint32_t depth = 2;    // gpubuf's staging entries
  // gpubuf's memory for images: uploads under way at first and at most, and embeddings in device memory, those of more
  // that wait being in page-locked memory.
  std::uint32_t uploads = 4;
  std::uint32_t max_uploads = 32;
  std::uint64_t upload_cool_down_ns = 100'000'000;  // after which the pool of uploads may shrink
  std::uint32_t device_embeddings = 32;
};

// Where a step's kernels find their inputs on the device, and where they leave the sampled tokens.
struct DeviceAddresses {
  std::array<gpubuf::address, kImages> inputs{};
  std::vector<gpubuf::address> images;  // the embeddings of each of StepData::image_reads
  gpubuf::address activations = 0;      // kActivationBytesPerToken for each of the padded tokens
  gpubuf::address sampled = 0;
};

// What a step launches.
class Launcher {
 public:
  virtual ~Launcher() = default;
  // The model's kernels. A runner calls it once a step, between staging and read-back.
  virtual void launch(const gpubuf::stream& stream, const DeviceAddresses& addresses) = 0;
  // The encoder's, for one image that arrived: reads its pixels, writes its embeddings.
  virtual void encode(const gpubuf::stream& stream, gpubuf::address pixels, gpubuf::address embeddings) = 0;
};

using TakeTokens = std::function<void(gpubuf::span<const std::int32_t> tokens)>;

// A way to bring steps to the device and sampled tokens back. Up to two steps are under way at a time: step n is
// submitted once the tokens of step n - 2 were taken.
class Runner {
 public:
  virtual ~Runner() = default;
  virtual const char* name() const = 0;
  // Stages the inputs, launches the kernels behind them and queues the read-back of the tokens, without waiting for
  // any of it.
  virtual void submit(const StepData& step, Launcher& kernels) = 0;
  // Waits for the tokens of a step and hands them to `take`: one for each row of its batch.
  virtual void take_tokens(std::uint64_t step, const TakeTokens& take) = 0;
  // What nobody waits for: called once a step, while the device works on it.
  virtual void upkeep() {}
  // Copies from the device, and their bytes, besides those of the tokens.
  struct Copies {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
  };
  virtual Copies copies_to_host() const { return {}; }
  virtual const gpubuf::device& device() const = 0;
  virtual const gpubuf::stream& copy_stream() const = 0;
  virtual const gpubuf::stream& compute_stream() const = 0;
};

// What a test does at fixed points of the loop.
struct Hooks {
  std::function<void(std::uint64_t step)> before_submit;
  std::function<void(std::uint64_t step)> after_submit;
  // `start` and `end`: bit i is set if input i was wrong when the kernels started, or when they ended.
  std::function<void(std::uint64_t step, std::uint32_t start, std::uint32_t end)> checked;
  // The loop reports here now and then: the steps done so far.
  std::function<void(std::uint64_t steps)> progress;
};

struct ReplayResult {
  std::string name;
  std::uint64_t steps = 0;
  std::uint64_t wrong_steps = 0;
  std::uint64_t wrong_tokens = 0;
  std::array<std::uint64_t, kInputCount> wrong_inputs{};  // steps in which an input was wrong
  std::uint64_t copies = 0;  // to the device
  std::uint64_t copied_bytes = 0;
  std::uint64_t host_waits = 0;
  std::uint64_t host_wait_ns = 0;
  std::uint64_t device_peak_bytes = 0;
  std::uint64_t pinned_peak_bytes = 0;
  // Of each step, less the time inside the engine: staging, read-back and retire, and what nobody waits for.
  std::vector<std::uint64_t> host_ns;
  std::vector<std::uint64_t> upkeep_ns;
  double wall_seconds = 0;
  BatcherStats batch;
};

// Runs until the batcher is done or `options.max_steps` are. Throws what the runner throws.
ReplayResult replay(Runner& runner, Batcher& batcher, const ReplayOptions& options, const Hooks& hooks = {});

}  // namespace decode_replay
