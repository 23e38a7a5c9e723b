// Replays real LLM traffic through the input staging of a decode loop, by hand in two ways and with gpubuf, and counts the
// steps whose kernels saw other inputs than the host staged. Runs anywhere: the device is emulated.
//
// Where to look: decode_replay/gpubuf_runner.cpp stages a step with gpubuf, decode_replay/by_hand_runner.cpp does it as
// runtimes do, decode_replay/replay.cpp is the loop and the check, decode_replay/batcher.cpp the scheduler.

#include <unistd.h>

#include <algorithm>
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
#include "decode_replay/figures.hpp"
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

ReplayResult run(Runner& runner, const Trace& trace, const Options& options, const ReplayOptions& replay_options) {
  // A new batcher each time makes the same steps again.
  Batcher batcher(trace.requests, options.batcher);
  Hooks hooks;
  const bool terminal = isatty(STDERR_FILENO) == 1;
  if (terminal) {
    hooks.progress = [&](std::uint64_t step) {
      std::fprintf(stderr, "\r%-12s step %llu, %llu of %zu requests answered", runner.name(),
                   static_cast<unsigned long long>(step), static_cast<unsigned long long>(batcher.stats().finished),
                   trace.requests.size());
      std::fflush(stderr);
    };
  }
  ReplayResult result = replay(runner, batcher, replay_options, hooks);
  if (terminal) {
    std::fputs("\r\033[K", stderr);
  }
  return result;
}

std::vector<Table> empty_tables(const Options& options) {
  std::vector<Table> tables;
  const std::vector<Column> columns = {{"unfenced", {}}, {"event a step", {}}, {"gpubuf", {}}};
  if (options.with_delays) {
    tables.push_back({"with delays", options.replay, columns});
  }
  if (options.without_delays) {
    ReplayOptions at_once = options.replay;
    at_once.compute_ns = at_once.link_latency_ns = at_once.link_bytes_per_second = 0;
    tables.push_back({"no delays", at_once, columns});
  }
  return tables;
}

// One run of each way, in turns, so that what else the machine does falls on all of them. Returns what gpubuf's parts did on the
// first device.
Figures run_round(std::vector<Table>& tables, const Trace& trace, const Options& options) {
  Figures figures;
  for (Table& table : tables) {
    const ReplayOptions& on = table.replay;
    for (const Fence fence : {Fence::kNone, Fence::kEvent}) {
      ByHandRunner runner(on, options.batcher.shapes, fence);
      table.columns[fence == Fence::kNone ? 0 : 1].runs.push_back(run(runner, trace, options, on));
    }
    GpubufRunner runner(on, options.batcher.shapes);
    table.columns[2].runs.push_back(run(runner, trace, options, on));
    if (&table == &tables.front()) {
      figures = figures_of(runner, on);
    }
  }
  return figures;
}

void print_device(const ReplayOptions& replay) {
  std::cout << "device  emulated: " << replay.compute_ns / 1000 << " us of kernels a step, "
            << static_cast<double>(replay.link_latency_ns) / 1e3 << " us + bytes at "
            << static_cast<double>(replay.link_bytes_per_second) / 1e9 << " GB/s a copy, "
            << (replay.streams == 2 ? "a copy stream and a compute stream" : "one stream") << "\n";
}

void explain(const std::vector<Table>& tables) {
  std::cout << R"(
A step is wrong if any byte of its inputs, as its kernels saw them at their start or at their end, is not what the host
staged for it. Host time is that of staging, read-back and retire, upkeep that of what nobody waits for, both without the
time inside the emulated device: what a driver takes for each copy, record and wait is in no column.
)";
  std::uint64_t by_gpubuf = 0, by_event = 0, unfenced = 0;
  for (const Table& table : tables) {
    for (std::size_t i = 0; i < table.columns[0].runs.size(); ++i) {
      unfenced += table.columns[0].runs[i].wrong_steps;
      by_event += table.columns[1].runs[i].wrong_steps;
      by_gpubuf += table.columns[2].runs[i].wrong_steps;
    }
  }
  if (by_gpubuf != 0) {
    std::cout << "gpubuf let " << by_gpubuf << " wrong steps through: this is a bug in gpubuf.\n";
  }
  if (by_event != 0) {
    std::cout << "One event a step let " << by_event << " wrong steps through: this is a bug of the replay.\n";
  }
  if (unfenced != 0) {
    std::cout << "Unfenced, the host rewrote arrays that a copy under way still read: step n + 1 overtook step n.\n"
                 "Nothing failed and nothing was reported.\n";
  } else {
    std::cout << "Unfenced, no step was wrong this time: the copies happened to win every race. Nothing makes them.\n";
  }
}

std::ofstream open_for_writing(const std::string& path) {
  std::ofstream file;
  if (!path.empty()) {
    file.open(path);
    if (!file) {
      throw UsageError(path + ": cannot be written");
    }
  }
  return file;
}

void close_written(std::ofstream& file, const std::string& path) {
  file.close();
  if (!file) {
    throw UsageError(path + ": cannot be written");
  }
}

int run_all(const Options& options) {
  const Trace trace = load_trace(options);
  if (trace.requests.empty()) {
    std::cout << trace.source << " holds no requests: there is nothing to replay.\n";
    return kRight;
  }
  std::ofstream json = open_for_writing(options.json_path);
  std::ofstream report = open_for_writing(options.report_path);
  std::vector<Table> tables = empty_tables(options);
  Figures figures;
  for (std::uint32_t round = 0; round < options.rounds; ++round) {
    figures = run_round(tables, trace, options);
  }
  const ReplayResult& some = tables.front().columns.front().runs.front();
  print_load(std::cout, trace, some.batch);
  if (some.steps == 0) {
    std::cout << "No request fits: there was nothing to replay.\n";
    return kRight;
  }
  print_device(options.replay);
  std::cout << "runs    " << options.rounds << " of each, in turns: medians\n";
  for (const Table& table : tables) {
    std::cout << "\n";
    print_table(std::cout, table);
  }
  explain(tables);
  std::cout << "\nWhat gpubuf's parts did in the last run " << tables.front().device << ":\n";
  print_figures(std::cout, figures);
  std::cout << "\nIts report of the process then:\n" << figures.report_text;
  if (json.is_open()) {
    write_json(json, trace, options, tables, figures);
    close_written(json, options.json_path);
  }
  if (report.is_open()) {
    report << figures.report_json << "\n";
    close_written(report, options.report_path);
  }
  bool right = true;
  for (const Table& table : tables) {
    for (const ReplayResult& r : table.columns.back().runs) {
      right = right && r.wrong_steps == 0 && r.wrong_tokens == 0;
    }
  }
  return right ? kRight : kWrongSteps;
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
