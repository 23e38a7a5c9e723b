// What a replay measured, as a table for people and as JSON for programs.
#pragma once

#include <cstdint>
#include <ostream>
#include <vector>

#include "options.hpp"
#include "replay.hpp"
#include "trace.hpp"

namespace decode_replay {

// The nearest-rank percentile, 0 < percent <= 100: the smallest value that at least `percent` of all do not exceed.
// 0 for no values.
std::uint64_t percentile(std::vector<std::uint64_t> values, double percent);

// `results` are the columns: gpubuf first, by hand second.
void print_load(std::ostream& out, const Trace& trace, const BatcherStats& batch);
void print_table(std::ostream& out, const std::vector<ReplayResult>& results);
void write_json(std::ostream& out, const Trace& trace, const Options& options,
                const std::vector<ReplayResult>& results);

}  // namespace decode_replay
