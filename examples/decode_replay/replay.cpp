#include "replay.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "images.hpp"

namespace decode_replay {

namespace {

constexpr std::size_t kInFlight = 2;

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

// This thread's time inside the emulated device, which a real driver would not take.
std::uint64_t inside_engine_ns() { return static_cast<std::uint64_t>(gpubuf::host::time_inside().count()); }

// A step under way: the bytes that the host meant to stage, kept until the step is done, and what the device saw.
struct Flight {
  StepData kept;
  DeviceAddresses at;
  std::vector<unsigned char> seen;  // inputs as read from the device, one after the other; reused
  std::array<std::size_t, kInputCount> seen_offset{};
  std::vector<std::uint64_t> meanings;  // what the images mean that each row sees, as they are on the device
  std::vector<std::uint64_t> activations, activations_seen;
  std::vector<std::int32_t> sampled;
  // The device's worker reads what is above after the launch, and the host what is below after the tokens arrived.
  // Stream order is enough for that; these say it once more to tools that cannot see stream order.
  std::atomic<bool> launched{false};
  std::atomic<std::uint32_t> wrong_at_start{0};
  std::atomic<std::uint32_t> wrong_at_end{0};
};

constexpr std::uint32_t kNotSampled = 1U << kInputCount;

bool same_bytes(const unsigned char* seen, const LiveBytes& wanted) {
  return std::memcmp(seen, wanted.data, wanted.bytes) == 0;
}

// Kernels read the blocks of each row's sequence, and no cell beyond.
bool same_table(const unsigned char* seen, const StepData& step) {
  for (std::size_t row = 0; row < step.batch; ++row) {
    const std::size_t at = row * step.table_columns;
    if (!same_bytes(seen + at * sizeof(std::int32_t),
                    {step.block_table.data() + at, step.table_blocks[row] * sizeof(std::int32_t)})) {
      return false;
    }
  }
  return true;
}

// Reads the embeddings of every image of the step as they are on the device now, and compares them with what the encoder
// makes of the pixels that the host meant.
bool look_at_images(const gpubuf::host::view& memory, Flight& flight) {
  const std::vector<ImageRead>& reads = flight.kept.image_reads;
  flight.meanings.assign(flight.kept.batch, 0);
  std::vector<std::uint64_t> pixels(kPixelWords), wanted(kEmbeddingWords), seen(kEmbeddingWords);
  bool same = flight.at.images.size() == reads.size();
  for (std::size_t i = 0; same && i < reads.size(); ++i) {
    draw_pixels(reads[i].image, pixels.data());
    encode_pixels(pixels.data(), wanted.data());
    same = memory.read<gpubuf::no_throw>(flight.at.images[i], seen.data(), kEmbeddingBytes) == gpubuf::status::ok &&
           seen == wanted;
    flight.meanings[reads[i].row] = meaning_of(seen.data());
  }
  return same;
}

// Reads every live byte of every input as it is on the device now; bit i of the result is set if input i is not what
// the host meant.
std::uint32_t look(const gpubuf::host::view& memory, Flight& flight) {
  (void)flight.launched.load(std::memory_order_acquire);
  const auto wanted = live_bytes(flight.kept);
  std::size_t total = 0;
  for (std::size_t i = 0; i < kInputCount; ++i) {
    flight.seen_offset[i] = total;
    total += (wanted[i].bytes + 7) / 8 * 8;
  }
  if (flight.seen.size() < total) {
    flight.seen.resize(total);
  }
  std::uint32_t wrong = 0;
  for (std::size_t i = 0; i < flight.at.inputs.size(); ++i) {
    unsigned char* seen = flight.seen.data() + flight.seen_offset[i];
    const gpubuf::status status = memory.read<gpubuf::no_throw>(flight.at.inputs[i], seen, wanted[i].bytes);
    if (status != gpubuf::status::ok ||
        !(i == kBlockTable ? same_table(seen, flight.kept) : same_bytes(seen, wanted[i]))) {
      wrong |= 1U << i;
    }
  }
  if (!flight.kept.image_reads.empty() && !look_at_images(memory, flight)) {
    wrong |= 1U << kImages;
  }
  return wrong;
}

std::size_t activation_words(const StepData& step) {
  return step.padded_tokens * kActivationBytesPerToken / sizeof(std::uint64_t);
}

// The kernels leave something in the step's own memory when they start, and must find it when they end.
bool write_activations(const gpubuf::host::view& memory, Flight& flight) {
  flight.activations.resize(activation_words(flight.kept));
  for (std::size_t i = 0; i < flight.activations.size(); ++i) {
    flight.activations[i] = (flight.kept.index << 20U) + i;
  }
  return memory.write<gpubuf::no_throw>(flight.at.activations, flight.activations.data(),
                                        flight.activations.size() * sizeof(std::uint64_t)) == gpubuf::status::ok;
}

bool find_activations(const gpubuf::host::view& memory, Flight& flight) {
  flight.activations_seen.resize(flight.activations.size());
  return memory.read<gpubuf::no_throw>(flight.at.activations, flight.activations_seen.data(),
                                       flight.activations.size() * sizeof(std::uint64_t)) == gpubuf::status::ok &&
         flight.activations_seen == flight.activations;
}

template <typename T>
T seen_value(const Flight& flight, Input input, std::size_t row) {
  T value;
  std::memcpy(&value, flight.seen.data() + flight.seen_offset[input] + row * sizeof(T), sizeof value);
  return value;
}

// The start of the kernels.
void kernels_start(const gpubuf::host::view& memory, Flight& flight) {
  std::uint32_t wrong = look(memory, flight);
  if (!write_activations(memory, flight)) {
    wrong |= 1U << kActivations;
  }
  flight.wrong_at_start.store(wrong, std::memory_order_release);
}

// Their end: inputs may not change while they run. The sampled tokens follow from what is on the device, right or not.
void kernels_end(const gpubuf::host::view& memory, Flight& flight) {
  std::uint32_t wrong = look(memory, flight);
  if (!find_activations(memory, flight)) {
    wrong |= 1U << kActivations;
  }
  const std::uint32_t batch = flight.kept.batch;
  flight.sampled.resize(batch);
  for (std::uint32_t row = 0; row < batch; ++row) {
    const std::int64_t last = std::int64_t{seen_value<std::int32_t>(flight, kQueryStartLoc, row + 1)} - 1;
    if (last < 0 || last >= flight.kept.tokens) {
      flight.sampled[row] = -1;  // a GPU would have read out of bounds here
      continue;
    }
    const auto at = static_cast<std::size_t>(last);
    flight.sampled[row] =
        next_token(seen_value<std::int32_t>(flight, kInputIds, at), seen_value<std::int64_t>(flight, kPositions, at),
                   seen_value<std::int64_t>(flight, kSeeds, row),
                   flight.kept.image_reads.empty() ? 0 : flight.meanings[row]);
  }
  const std::size_t bytes = batch * sizeof(std::int32_t);
  if (memory.write<gpubuf::no_throw>(flight.at.sampled, flight.sampled.data(), bytes) != gpubuf::status::ok) {
    wrong |= kNotSampled;
  }
  flight.wrong_at_end.store(wrong, std::memory_order_release);
}

// This thread's time since it was made, less that inside the engine.
class HostTime {
 public:
  HostTime() : start_(now_ns()), inside_(inside_engine_ns()) {}
  std::uint64_t elapsed_ns() const {
    const std::uint64_t elapsed = now_ns() - start_;
    const std::uint64_t inside = inside_engine_ns() - inside_;
    return elapsed > inside ? elapsed - inside : 0;
  }

 private:
  std::uint64_t start_;
  std::uint64_t inside_;
};

// Launches the stand-ins for a model's kernels, and keeps time: what passes here is the emulation's, not the staging's.
class CheckedKernels : public Launcher {
 public:
  CheckedKernels(Flight& flight, std::uint64_t compute_ns) : flight_(flight), compute_ns_(compute_ns) {}

  void launch(const gpubuf::stream& stream, const DeviceAddresses& addresses) override {
    const HostTime time;
    flight_.at = addresses;
    flight_.launched.store(true, std::memory_order_release);
    Flight* flight = &flight_;
    gpubuf::host::call(stream, [flight](gpubuf::host::view& memory) { kernels_start(memory, *flight); });
    if (compute_ns_ != 0) {
      gpubuf::host::delay(stream, std::chrono::nanoseconds(compute_ns_));
    }
    gpubuf::host::call(stream, [flight](gpubuf::host::view& memory) { kernels_end(memory, *flight); });
    host_ns += time.elapsed_ns();
  }

  void encode(const gpubuf::stream& stream, gpubuf::address from, gpubuf::address to) override {
    const HostTime time;
    gpubuf::host::call(stream, [from, to](gpubuf::host::view& memory) {
      std::vector<std::uint64_t> pixels(kPixelWords), embeddings(kEmbeddingWords);
      memory.read(from, pixels.data(), kPixelBytes);
      encode_pixels(pixels.data(), embeddings.data());
      memory.write(to, embeddings.data(), kEmbeddingBytes);
    });
    host_ns += time.elapsed_ns();
  }

  std::uint64_t host_ns = 0;

 private:
  Flight& flight_;
  std::uint64_t compute_ns_;
};

class Loop {
 public:
  Loop(Runner& runner, Batcher& batcher, const ReplayOptions& options, const Hooks& hooks)
      : runner_(runner), batcher_(batcher), options_(options), hooks_(hooks), flights_(new Flight[kInFlight]) {
    result_.name = runner.name();
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Functions on the device's streams point into the flights. Where an exception ends the loop, they may still run.
  ~Loop() {
    const gpubuf::status status = runner_.device().synchronize<gpubuf::no_throw>();
    if (status == gpubuf::status::timeout || status == gpubuf::status::would_deadlock) {
      static_cast<void>(flights_.release());  // a leak is better than a worker that writes to freed memory
    }
  }

  ReplayResult run() {
    const std::uint64_t started = now_ns();
    const gpubuf_device_stats before = runner_.device().stats();
    std::uint64_t step = 0;
    for (; step < options_.max_steps; ++step) {
      // Asynchronous scheduling: while step n - 1 runs, the host takes the tokens of step n - 2 and stages step n.
      if (step >= kInFlight) {
        take(step - kInFlight);
      }
      Flight& flight = flights_[step % kInFlight];
      if (!batcher_.next(flight.kept)) {
        break;
      }
      if (hooks_.before_submit) {
        hooks_.before_submit(step);
      }
      submit(flight);
      if (hooks_.after_submit) {
        hooks_.after_submit(step);
      }
      keep_up();
      if (hooks_.progress && step % 64 == 63) {
        hooks_.progress(step + 1);
      }
    }
    while (taken_ < step) {
      take(taken_);
    }
    result_.steps = step;
    result_.batch = batcher_.stats();
    result_.wall_seconds = static_cast<double>(now_ns() - started) / 1e9;
    account(before, runner_.device().stats());
    return std::move(result_);
  }

 private:
  void submit(Flight& flight) {
    CheckedKernels kernels(flight, options_.compute_ns);
    const HostTime time;
    runner_.submit(flight.kept, kernels);
    const std::uint64_t all = time.elapsed_ns();
    result_.host_ns.push_back(all > kernels.host_ns ? all - kernels.host_ns : 0);
    tokens_back_ += flight.kept.batch;
  }

  void keep_up() {
    const HostTime time;
    runner_.upkeep();
    result_.upkeep_ns.push_back(time.elapsed_ns());
  }

  void take(std::uint64_t step) {
    Flight& flight = flights_[step % kInFlight];
    const std::vector<std::int32_t>& expected = flight.kept.expected_tokens;
    runner_.take_tokens(step, [&](gpubuf::span<const std::int32_t> tokens) {
      for (std::size_t row = 0; row < expected.size(); ++row) {
        result_.wrong_tokens += tokens[row] == expected[row] ? 0U : 1U;
      }
    });
    const std::uint32_t start = flight.wrong_at_start.load(std::memory_order_acquire);
    const std::uint32_t end = flight.wrong_at_end.load(std::memory_order_acquire);
    result_.wrong_steps += (start | end) == 0 ? 0U : 1U;
    for (std::size_t i = 0; i < kInputCount; ++i) {
      result_.wrong_inputs[i] += ((start | end) >> i) & 1U;
    }
    if (hooks_.checked) {
      hooks_.checked(step, start, end);
    }
    taken_ = step + 1;
  }

  // Each step reads its tokens back with one copy, and the runner may have copies of its own; the rest went to the device.
  void account(const gpubuf_device_stats& before, const gpubuf_device_stats& after) {
    const Runner::Copies back = runner_.copies_to_host();
    result_.copies = after.copies - before.copies - result_.steps - back.count;
    result_.copied_bytes =
        after.copied_bytes - before.copied_bytes - tokens_back_ * sizeof(std::int32_t) - back.bytes;
    result_.host_waits = after.host_waits - before.host_waits;
    result_.host_wait_ns = after.host_wait_ns - before.host_wait_ns;
    result_.device_peak_bytes = after.device_peak_bytes;
    result_.pinned_peak_bytes = after.pinned_peak_bytes;
  }

  Runner& runner_;
  Batcher& batcher_;
  const ReplayOptions& options_;
  const Hooks& hooks_;
  std::unique_ptr<Flight[]> flights_;
  std::uint64_t taken_ = 0;
  std::uint64_t tokens_back_ = 0;
  ReplayResult result_;
};

}  // namespace

ReplayResult replay(Runner& runner, Batcher& batcher, const ReplayOptions& options, const Hooks& hooks) {
  return Loop(runner, batcher, options, hooks).run();
}

}  // namespace decode_replay
