#include "replay.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

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
  std::vector<std::int32_t> sampled;
  // The device's worker reads what is above after the launch, and the host what is below after the tokens arrived.
  // Stream order is enough for that; these say it once more to tools that cannot see stream order.
  std::atomic<bool> launched{false};
  std::atomic<std::uint32_t> wrong_at_start{0};
  std::atomic<std::uint32_t> wrong_at_end{0};
};

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
  for (std::size_t i = 0; i < kInputCount; ++i) {
    unsigned char* seen = flight.seen.data() + flight.seen_offset[i];
    const gpubuf::status status = memory.read<gpubuf::no_throw>(flight.at.inputs[i], seen, wanted[i].bytes);
    if (status != gpubuf::status::ok || std::memcmp(seen, wanted[i].data, wanted[i].bytes) != 0) {
      wrong |= 1U << i;
    }
  }
  return wrong;
}

template <typename T>
T seen_value(const Flight& flight, Input input, std::size_t row) {
  T value;
  std::memcpy(&value, flight.seen.data() + flight.seen_offset[input] + row * sizeof(T), sizeof value);
  return value;
}

// The start of the kernels.
void kernels_start(const gpubuf::host::view& memory, Flight& flight) {
  flight.wrong_at_start.store(look(memory, flight), std::memory_order_release);
}

// Their end: inputs may not change while they run. The sampled tokens follow from what is on the device, right or not.
void kernels_end(const gpubuf::host::view& memory, Flight& flight) {
  std::uint32_t wrong = look(memory, flight);
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
                   seen_value<std::int64_t>(flight, kSeeds, row));
  }
  const std::size_t bytes = batch * sizeof(std::int32_t);
  if (memory.write<gpubuf::no_throw>(flight.at.sampled, flight.sampled.data(), bytes) != gpubuf::status::ok) {
    wrong |= 1U << kInputCount;
  }
  flight.wrong_at_end.store(wrong, std::memory_order_release);
}

// Launches the stand-in for a model's kernels, and keeps time: what passes here is the emulation's, not the staging's.
class CheckedKernels : public Launcher {
 public:
  CheckedKernels(Flight& flight, std::uint64_t compute_ns) : flight_(flight), compute_ns_(compute_ns) {}

  void launch(const gpubuf::stream& stream, const DeviceAddresses& addresses) override {
    const std::uint64_t start = now_ns();
    const std::uint64_t inside = inside_engine_ns();
    flight_.at = addresses;
    flight_.launched.store(true, std::memory_order_release);
    Flight* flight = &flight_;
    gpubuf::host::call(stream, [flight](gpubuf::host::view& memory) { kernels_start(memory, *flight); });
    gpubuf::host::delay(stream, std::chrono::nanoseconds(compute_ns_));
    gpubuf::host::call(stream, [flight](gpubuf::host::view& memory) { kernels_end(memory, *flight); });
    inside_ns += inside_engine_ns() - inside;
    elapsed_ns += now_ns() - start;
  }

  std::uint64_t elapsed_ns = 0;
  std::uint64_t inside_ns = 0;

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
    const std::uint64_t inside = inside_engine_ns();
    const std::uint64_t start = now_ns();
    runner_.submit(flight.kept, kernels);
    const std::uint64_t elapsed = now_ns() - start - kernels.elapsed_ns;
    const std::uint64_t engine = inside_engine_ns() - inside - kernels.inside_ns;
    result_.host_ns.push_back(elapsed > engine ? elapsed - engine : 0);
    tokens_back_ += flight.kept.batch;
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

  // Each step reads its tokens back with one copy; the rest went to the device.
  void account(const gpubuf_device_stats& before, const gpubuf_device_stats& after) {
    result_.copies = after.copies - before.copies - result_.steps;
    result_.copied_bytes = after.copied_bytes - before.copied_bytes - tokens_back_ * sizeof(std::int32_t);
    result_.host_waits = after.host_waits - before.host_waits;
    result_.host_wait_ns = after.host_wait_ns - before.host_wait_ns;
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
