// What the replays measured, as tables for people and as JSON for programs.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "figures.hpp"
#include "options.hpp"
#include "replay.hpp"
#include "trace.hpp"

namespace decode_replay {

// The runs of one way of staging on one device, the same steps each time.
struct Column {
  std::string name;
  std::vector<ReplayResult> runs;
};

// What every way came to on a device with these delays.
struct Table {
  std::string device;
  ReplayOptions replay;
  std::vector<Column> columns;
};

// The nearest-rank percentile, 0 < percent <= 100: the smallest value that at least `percent` of all do not exceed.
// 0 for no values.
std::uint64_t percentile(std::vector<std::uint64_t> values, double percent);

void print_load(std::ostream& out, const Trace& trace, const BatcherStats& batch);
// Each figure is the median of the runs' own.
void print_table(std::ostream& out, const Table& table);
void write_json(std::ostream& out, const Trace& trace, const Options& options, const std::vector<Table>& tables,
                const Figures& figures);

}  // namespace decode_replay
