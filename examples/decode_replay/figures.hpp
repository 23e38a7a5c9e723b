// What the parts of the library did in a run with gpubuf, and its own report of the process.
#pragma once

#include <gpubuf/gpubuf.hpp>

#include <cstdint>
#include <ostream>
#include <string>

#include "gpubuf_runner.hpp"

namespace decode_replay {

struct Figures {
  gpubuf_staged_rows_stats table{};
  gpubuf_predictor_stats predictor{};
  gpubuf_workspace_stats activations{};
  std::uint64_t made_ahead = 0;
  std::uint32_t first_uploads = 0;
  gpubuf_pool_stats uploads{};
  gpubuf_tiers_stats embeddings{};
  gpubuf_pressure_stats pressure{};
  std::string report_text, report_json;
};

// While the runner's objects live.
Figures figures_of(const GpubufRunner& runner, const ReplayOptions& options);

void print_figures(std::ostream& out, const Figures& figures);
// An object, without the reports.
void write_figures(std::ostream& out, const Figures& figures);

}  // namespace decode_replay
