#include "options.hpp"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <sstream>

namespace decode_replay {
namespace {

std::uint64_t whole(const std::string& option, const char* text, std::uint64_t low, std::uint64_t high) {
  errno = 0;
  char* end = nullptr;
  const unsigned long long value = std::strtoull(text, &end, 10);
  const bool digits = *text != '\0' && std::strspn(text, "0123456789") == std::strlen(text);
  if (!digits || errno != 0 || value < low || value > high) {
    throw UsageError(option + " takes a whole number from " + std::to_string(low) + " to " + std::to_string(high) +
                     ", not '" + text + "'");
  }
  return value;
}

std::uint32_t whole32(const std::string& option, const char* text, std::uint32_t low, std::uint32_t high) {
  return static_cast<std::uint32_t>(whole(option, text, low, high));
}

double real(const std::string& option, const char* text, double low, double high) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !std::isfinite(value) || value < low || value > high) {
    std::ostringstream message;
    message << option << " takes a number from " << low << " to " << high << ", not '" << text << "'";
    throw UsageError(message.str());
  }
  return value;
}

}  // namespace

Options parse_options(int argc, const char* const* argv) {
  Options options;
  BatcherOptions& batcher = options.batcher;
  ReplayOptions& replay = options.replay;
  bool only_paths = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (only_paths || argument.size() < 2 || argument[0] != '-') {
      if (argument.empty() || !options.trace_path.empty()) {
        throw UsageError(argument.empty() ? "the trace's path is empty"
                                          : "one trace at a time: '" + options.trace_path + "' and '" + argument + "'");
      }
      options.trace_path = argument;
      continue;
    }
    if (argument == "--") {
      only_paths = true;
      continue;
    }
    if (argument == "--help" || argument == "-h") {
      options.help = true;
      continue;
    }
    // "--option value" and "--option=value".
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const auto value = [&]() -> const char* {
      if (equals != std::string::npos) {
        return argv[i] + equals + 1;
      }
      if (i + 1 == argc) {
        throw UsageError(name + " needs a value");
      }
      return argv[++i];
    };
    if (name == "--steps") {
      replay.max_steps = whole(name, value(), 1, 1'000'000);
    } else if (name == "--speed") {
      batcher.speed = real(name, value(), 1e-3, 1e6);
    } else if (name == "--step-ms") {
      batcher.step_ms = real(name, value(), 1e-3, 1e5);
    } else if (name == "--max-batch") {
      batcher.shapes.max_batch = whole32(name, value(), 1, 4096);
    } else if (name == "--token-budget") {
      batcher.shapes.token_budget = whole32(name, value(), 1, 65536);
    } else if (name == "--max-seq-len") {
      batcher.shapes.max_seq_len = whole32(name, value(), 16, 131072);
    } else if (name == "--kv-blocks") {
      batcher.kv_blocks = whole32(name, value(), 1, 16'777'216);
    } else if (name == "--compute-us") {
      replay.compute_ns = whole(name, value(), 0, 1'000'000) * 1000;
    } else if (name == "--link-latency-us") {
      replay.link_latency_ns = static_cast<std::uint64_t>(std::llround(real(name, value(), 0, 1e6) * 1000));
    } else if (name == "--link-gb-per-s") {
      replay.link_bytes_per_second = static_cast<std::uint64_t>(std::llround(real(name, value(), 1e-3, 1e4) * 1e9));
    } else if (name == "--streams") {
      replay.streams = whole32(name, value(), 1, 2);
    } else if (name == "--depth") {
      replay.depth = whole32(name, value(), 1, 16);
    } else if (name == "--seed") {
      batcher.seed = whole(name, value(), 0, UINT64_MAX);
    } else if (name == "--images") {
      batcher.image_percent = whole32(name, value(), 0, 100);
    } else if (name == "--rounds") {
      options.rounds = whole32(name, value(), 1, 99);
    } else if (name == "--delays") {
      const std::string which = value();
      if (which != "both" && which != "on" && which != "off") {
        throw UsageError("--delays takes on, off or both, not '" + which + "'");
      }
      options.with_delays = which != "off";
      options.without_delays = which != "on";
    } else if (name == "--trace") {
      const std::string path = value();
      if (path.empty() || !options.trace_path.empty()) {
        throw UsageError(path.empty() ? "--trace takes the path of a file"
                                      : "one trace at a time: '" + options.trace_path + "' and '" + path + "'");
      }
      options.trace_path = path;
    } else if (name == "--report") {
      options.report_path = value();
      if (options.report_path.empty()) {
        throw UsageError("--report takes the path of a file");
      }
    } else if (name == "--json") {
      options.json_path = value();
      if (options.json_path.empty()) {
        throw UsageError("--json takes the path of a file");
      }
    } else {
      throw UsageError("there is no option " + name + "; --help lists them");
    }
  }
  if (batcher.shapes.token_budget < batcher.shapes.max_batch) {
    throw UsageError("--token-budget must be at least --max-batch: each request of a batch gets a token a step");
  }
  return options;
}

std::string usage(const char* program) {
  const Options d;
  const Shapes& shapes = d.batcher.shapes;
  const double latency_us = static_cast<double>(d.replay.link_latency_ns) / 1e3;
  const double gb_per_s = static_cast<double>(d.replay.link_bytes_per_second) / 1e9;
  std::ostringstream out;
  const auto option = [&](const char* name, const auto& value, const char* what) {
    out << "  " << std::left << std::setw(21) << name << what << " (" << value << ")\n";
  };
  out << "usage: " << program << " [options] [[--trace] TRACE]\n" << R"(
Replays a trace of LLM requests through the input staging of a decode loop with continuous batching in three ways: by hand
without a fence, by hand with one event a step, and with gpubuf; on a device with delays and on one without. A check on the
device compares what each step's kernels see with what the host staged. The device is emulated: no GPU is needed.

TRACE is a CSV file with the header TIMESTAMP,ContextTokens,GeneratedTokens, as in the public Azure LLM inference traces
of 2023. Without one, the program takes the trace that lay beside the project when it was built, and says which; where
there was none, it generates arrivals of its own.

load
)";
  option("--speed X", d.batcher.speed, R"(divide arrival times by X. One hour of a code service is about 2.6 requests a
                       second; a step of 20 ms with 2048 tokens prefills about 50 prompts a second. At 20 the two
                       meet: the batch is as large as the trace's short answers make it, and bursts queue.)");
  option("--step-ms X", d.batcher.step_ms, "what a step advances the virtual clock by; idle time is skipped");
  option("--steps N", d.replay.max_steps, "stop after N steps; the default is all of such an hour");
  option("--rounds N", d.rounds, "runs of each way, in turns; figures are the medians");
  option("--max-batch N", shapes.max_batch, "requests in a step");
  option("--token-budget N", shapes.token_budget, "tokens in a step: decodes first, then prefill chunks");
  option("--max-seq-len N", shapes.max_seq_len, "tokens of a request; longer ones are passed over");
  option("--kv-blocks N", d.batcher.kv_blocks, "KV blocks of 16 tokens; requests wait when they are short");
  option("--images N", d.batcher.image_percent, "percent of the requests that come with an image; the trace has none");
  option("--seed N", d.batcher.seed, "seed of token ids and of generated arrivals");
  out << "\ndevice\n";
  option("--delays W", "both", "on: with these delays; off: without any; both");
  option("--compute-us N", d.replay.compute_ns / 1000, "what the kernels of a step take");
  option("--link-latency-us X", latency_us, "what a copy takes before its first byte");
  option("--link-gb-per-s X", gb_per_s, "and then, in 1e9 bytes a second");
  option("--streams 1|2", d.replay.streams, "copies on the compute stream, or on one of their own");
  option("--depth N", d.replay.depth, "gpubuf's staging entries");
  out << R"(
  --json FILE          write the results there as well
  --report FILE        write gpubuf's report of the process, after the last run with it, there as JSON
  --help

Exit status: 0, or 1 when a step staged with gpubuf was wrong, 2 for a mistake in the options or the trace, 3 when the
library reported an error.
)";
  return out.str();
}

}  // namespace decode_replay
