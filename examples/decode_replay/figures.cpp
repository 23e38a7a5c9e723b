#include "figures.hpp"

#include "format.hpp"

namespace decode_replay {
namespace {

double ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

Figures figures_of(const GpubufRunner& runner, const ReplayOptions& options) {
  Figures f;
  f.table = runner.block_table().stats();
  f.predictor = runner.activations().predictor().stats();
  f.activations = runner.activations().workspace().stats();
  f.made_ahead = runner.activations().made_ahead();
  f.first_uploads = options.uploads;
  f.uploads = runner.images().uploads().stats();
  f.embeddings = runner.images().embeddings().stats();
  f.pressure = runner.images().pressure().stats();
  f.report_text = gpubuf::report();
  f.report_json = gpubuf::report(gpubuf::report_format::json);
  return f;
}

void print_figures(std::ostream& out, const Figures& f) {
  const std::uint64_t on_path = f.activations.made - f.made_ahead;
  out << "block table  " << grouped(f.table.writes) << " runs of cells in " << grouped(f.table.applies)
      << " applies, one copy and one kernel each: " << fixed(ratio(f.table.copied_bytes, f.table.applies), 0)
      << " bytes on average\n"
      << "step sizes   " << fixed(100 * ratio(f.predictor.hits, f.predictor.predictions), 1) << " % of "
      << grouped(f.predictor.predictions) << " predictions hit (the most common sizes: "
      << fixed(100 * ratio(f.predictor.most_common_hits, f.predictor.predictions), 1) << " %); for each predicted byte "
      << fixed(ratio(f.predictor.waste_bytes, f.predictor.predicted_bytes), 2) << " in vain\n"
      << "activations  " << grouped(f.predictor.records) << " steps of " << grouped(f.predictor.sizes)
      << " sizes; memory made " << grouped(f.made_ahead) << " times ahead of a step, " << grouped(on_path)
      << " times in one; at most " << grouped(f.activations.peak_bytes) << " bytes\n"
      << "uploads      a pool of " << f.first_uploads << " blocks grew " << grouped(f.uploads.growths) << " times, to at most "
      << f.uploads.peak_blocks << ", and shrank " << grouped(f.uploads.shrinks) << " times, to "
      << f.uploads.block_count << " at the end; " << grouped(f.uploads.fence_waits) << " of "
      << grouped(f.uploads.acquires) << " acquires waited for the device\n"
      << "embeddings   " << grouped(f.embeddings.accesses) << " accesses; " << grouped(f.embeddings.demotions)
      << " moves down to page-locked memory, " << grouped(f.embeddings.promotions) << " back up\n"
      << "pressure     rose " << grouped(f.pressure.rises) << " times, fell " << grouped(f.pressure.falls)
      << " times, and sent " << grouped(f.pressure.demoted_bytes) << " bytes down\n";
}

void write_figures(std::ostream& out, const Figures& f) {
  out << "{\"table_writes\": " << f.table.writes << ", \"table_applies\": " << f.table.applies
      << ", \"table_copied_bytes\": " << f.table.copied_bytes << ", \"predictions\": " << f.predictor.predictions
      << ", \"prediction_hits\": " << f.predictor.hits << ", \"most_common_hits\": " << f.predictor.most_common_hits
      << ", \"predicted_bytes\": " << f.predictor.predicted_bytes << ", \"waste_bytes\": " << f.predictor.waste_bytes
      << ", \"activations_made\": " << f.activations.made << ", \"activations_made_ahead\": " << f.made_ahead
      << ", \"uploads\": " << f.uploads.acquires << ", \"upload_waits\": " << f.uploads.fence_waits
      << ", \"upload_growths\": " << f.uploads.growths << ", \"upload_shrinks\": " << f.uploads.shrinks
      << ", \"upload_peak_blocks\": " << f.uploads.peak_blocks << ", \"demotions\": " << f.embeddings.demotions
      << ", \"promotions\": " << f.embeddings.promotions << ", \"pressure_rises\": " << f.pressure.rises
      << ", \"pressure_demoted_bytes\": " << f.pressure.demoted_bytes << "}";
}

}  // namespace decode_replay
