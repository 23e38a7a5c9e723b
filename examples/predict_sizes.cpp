// How well step sizes can be predicted: the steps of a request trace under several loads, by every method; the first half of
// each run, which the library's defaults were tuned on, and the second. Exits with 1 where the default falls behind.
#include <gpubuf/gpubuf.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "decode_replay/batcher.hpp"
#include "decode_replay/trace.hpp"

using namespace decode_replay;

namespace {

using Run = std::vector<std::uint64_t>;

struct Load {
  const char* name;
  double speed;
  double step_ms;
  std::uint32_t token_budget;
};
// The first is the replay's own default.
constexpr Load kLoads[] = {
    {"20 x", 20, 20, 2048}, {"10 x", 10, 20, 2048},         {"5 x", 5, 20, 2048},
    {"2 x", 2, 20, 2048},   {"1 x", 1, 20, 2048},           {"1 x, slow, large steps", 1, 50, 8192},
    {"20 x, large steps", 20, 20, 8192},
};

constexpr std::array<gpubuf::method, 4> kMethods = {gpubuf::method::most_common, gpubuf::method::markov,
                                                    gpubuf::method::markov2, gpubuf::method::blend};

struct Series {
  const char* name;
  Run sizes;
};

// Where slots pad to, by their default table.
std::uint64_t in_table(std::uint64_t tokens) {
  if (tokens <= 2 || tokens > 512) return tokens;
  if (tokens <= 4) return 4;
  const std::uint64_t multiple = tokens <= 256 ? 8 : 16;
  return (tokens + multiple - 1) / multiple * multiple;
}

std::vector<Series> steps(const Trace& trace, const Load& load) {
  BatcherOptions options;
  options.speed = load.speed;
  options.step_ms = load.step_ms;
  options.shapes.token_budget = load.token_budget;
  Batcher batcher(trace.requests, options);
  std::vector<Series> out = {{"batch", {}}, {"tokens", {}}, {"bytes", {}}, {"table", {}}};
  for (StepData step; batcher.next(step);) {
    const std::uint64_t batch = step.padded_batch, tokens = step.padded_tokens;
    out[0].sizes.push_back(batch);
    out[1].sizes.push_back(tokens);
    // Of the inputs that a step writes: ids, positions and slot mapping by token, the others by request.
    out[2].sizes.push_back(tokens * (4 + 8 + 8) + (batch + 1) * 4 + batch * (4 + 4 + 4 + 4 + 8));
    out[3].sizes.push_back(in_table(step.tokens));
  }
  return out;
}

gpubuf_predictor_stats predict(Run::const_iterator from, Run::const_iterator to, gpubuf::method by) {
  gpubuf::predictor_options options;
  options.method = static_cast<std::uint32_t>(by);
  const auto predictor = gpubuf::predictor::create(options);
  for (; from != to; ++from) predictor.record(*from);
  return predictor.stats();
}

double rate(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string beside = argc > 1 ? argv[1] : DECODE_REPLAY_SHARED_TRACE;
  const bool real = !beside.empty() && std::ifstream(beside);
  const Trace trace = real ? read_trace_file(beside) : generate_trace(1, kServiceRequests);
  std::printf("arrivals: %s\n3 sizes predicted; hit rates: most common, markov, markov2, blend; then what the blend wastes: bytes\n"
              "predicted in vain for each byte of a step\n\n", real ? trace.source.c_str() : "generated");
  int behind = 0;
  std::string pools;
  for (const Load& load : kLoads) {
    for (const Series& series : steps(trace, load)) {
      const auto middle = series.sizes.begin() + static_cast<std::ptrdiff_t>(series.sizes.size() / 2);
      std::printf("%-23s %-7s", load.name, series.name);
      const std::array<Run::const_iterator, 3> ends = {series.sizes.begin(), middle, series.sizes.end()};
      for (std::size_t half = 0; half < 2; ++half) {
        const auto from = ends[half], to = ends[half + 1];
        gpubuf_predictor_stats stats{};
        std::printf("  %6td:", to - from);
        for (const auto by : kMethods) {
          stats = predict(from, to, by);
          std::printf(" %.4f", rate(stats.hits, stats.predictions));
        }
        std::uint64_t bytes = 0;
        std::for_each(from + 1, to, [&](std::uint64_t size) { bytes += size; });
        std::printf(" %5.2f", rate(stats.waste_bytes, bytes));
        // The default is the last.
        const bool fell = stats.hits < stats.most_common_hits;
        const bool missed = &load == &kLoads[0] && rate(stats.hits, stats.predictions) < 0.9;
        if (fell || missed) std::printf(" %s", fell ? "BELOW MOST COMMON" : "BELOW 0.90");
        behind += fell || missed ? 1 : 0;
      }
      std::printf("\n");
      if (&load == &kLoads[0] && std::string(series.name) == "bytes") {
        const auto predictor = gpubuf::predictor::create();
        for (const auto size : series.sizes) predictor.record(size);
        pools = predictor.suggest();
      }
    }
  }
  std::printf("\npools for the inputs of the first load:\n%s", pools.c_str());
  return behind == 0 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 2;
}
