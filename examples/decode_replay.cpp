// Replays real LLM traffic through the input staging of a decode loop, once with gpubuf and once by hand, and counts
// the steps whose kernels saw other inputs than the host staged. Runs anywhere: the device is emulated.
//
// Where to look: decode_replay/gpubuf_runner.cpp stages a step with gpubuf, decode_replay/by_hand_runner.cpp does it as
// many runtimes do, decode_replay/replay.cpp is the loop and the check, decode_replay/batcher.cpp the scheduler.

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "decode_replay/batcher.hpp"
#include "decode_replay/by_hand_runner.hpp"
#include "decode_replay/gpubuf_runner.hpp"
#include "decode_replay/options.hpp"
#include "decode_replay/replay.hpp"
#include "decode_replay/report.hpp"
#include "decode_replay/trace.hpp"

using namespace decode_replay;

namespace {

enum Exit { kRight = 0, kWrongSteps = 1, kUsage = 2, kFailed = 3 };

Trace load_trace(const Options& options) {
  if (!options.trace_path.empty()) {
    return read_trace_file(options.trace_path);
  }
  // Beside the project, where it was there when this was built. The report names it.
  const std::string beside = DECODE_REPLAY_SHARED_TRACE;
  if (!beside.empty() && std::ifstream(beside)) {
    return read_trace_file(beside);
  }
  std::cout << "No trace was given: the arrivals are generated, with the mean rate and the lengths of an hour of a\n"
               "code-completion service.\n\n";
  return generate_trace(options.batcher.seed, kServiceRequests);
}

ReplayResult run(Runner& runner, const Trace& trace, const Options& options) {
  // A new batcher each time makes the same steps again.
  Batcher batcher(trace.requests, options.batcher);
  Hooks hooks;
  const bool terminal = isatty(STDERR_FILENO) == 1;
  if (terminal) {
    hooks.progress = [&](std::uint64_t step) {
      std::fprintf(stderr, "\r%-8s step %llu, %llu of %zu requests answered", runner.name(),
                   static_cast<unsigned long long>(step), static_cast<unsigned long long>(batcher.stats().finished),
                   trace.requests.size());
      std::fflush(stderr);
    };
  }
  ReplayResult result = replay(runner, batcher, options.replay, hooks);
  if (terminal) {
    std::fputs("\r\033[K", stderr);
  }
  return result;
}

void explain(const ReplayResult& gpubuf, const ReplayResult& by_hand) {
  std::cout << R"(
A step is wrong if any byte of its inputs, as its kernels saw them at their start or at their end, is not what the host
staged for it. Host time is that of staging, read-back and retire, without the time inside the emulated device: what a
driver takes for each copy, record and wait is in neither column.
)";
  if (gpubuf.wrong_steps != 0) {
    std::cout << "gpubuf let " << gpubuf.wrong_steps << " wrong steps through: this is a bug in gpubuf.\n";
  }
  if (by_hand.wrong_steps != 0) {
    std::cout << "By hand, the host rewrote arrays that a copy under way still read: step n + 1 overtook step n.\n"
                 "Nothing failed and nothing was reported; "
              << by_hand.wrong_tokens << " wrong tokens went to users.\n";
  } else {
    std::cout << "By hand, no step was wrong this time: the copies happened to win every race. Nothing makes them.\n";
  }
}

int run_all(const Options& options) {
  const Trace trace = load_trace(options);
  if (trace.requests.empty()) {
    std::cout << trace.source << " holds no requests: there is nothing to replay.\n";
    return kRight;
  }
  std::ofstream json;
  if (!options.json_path.empty()) {
    json.open(options.json_path);
    if (!json) {
      throw UsageError(options.json_path + ": cannot be written");
    }
  }
  std::vector<ReplayResult> results;
  {
    GpubufRunner runner(options.replay, options.batcher.shapes);
    results.push_back(run(runner, trace, options));
  }
  {
    ByHandRunner runner(options.replay, options.batcher.shapes);
    results.push_back(run(runner, trace, options));
  }
  print_load(std::cout, trace, results.front().batch);
  if (results.front().steps == 0) {
    std::cout << "No request fits: there was nothing to replay.\n";
    return kRight;
  }
  std::cout << "device  emulated: " << options.replay.compute_ns / 1000 << " us of kernels a step, "
            << static_cast<double>(options.replay.link_latency_ns) / 1e3 << " us + bytes at "
            << static_cast<double>(options.replay.link_bytes_per_second) / 1e9 << " GB/s a copy, "
            << (options.replay.streams == 2 ? "a copy stream and a compute stream" : "one stream") << "\n\n";
  print_table(std::cout, results);
  explain(results[0], results[1]);
  if (json.is_open()) {
    write_json(json, trace, options, results);
    json.close();
    if (!json) {
      throw UsageError(options.json_path + ": cannot be written");
    }
  }
  return results.front().wrong_steps == 0 && results.front().wrong_tokens == 0 ? kRight : kWrongSteps;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse_options(argc, argv);
    if (options.help) {
      std::cout << usage("decode_replay");
      return kRight;
    }
    return run_all(options);
  } catch (const UsageError& e) {
    std::cerr << "decode_replay: " << e.what() << "\n";
    return kUsage;
  } catch (const TraceError& e) {
    std::cerr << "decode_replay: " << e.what() << "\n";
    return kUsage;
  } catch (const std::exception& e) {
    std::cerr << "decode_replay: " << e.what() << "\n";
    return kFailed;
  }
}
