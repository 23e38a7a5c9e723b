#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iomanip>
#include <sstream>
#include <string>

#include "format.hpp"

namespace decode_replay {
namespace {

double per_step(std::uint64_t value, const ReplayResult& r) {
  return r.steps == 0 ? 0 : static_cast<double>(value) / static_cast<double>(r.steps);
}

// The median of the runs' figures; of an even number the lower one in the middle.
double median(const Column& column, const std::function<double(const ReplayResult&)>& figure) {
  std::vector<double> values;
  for (const ReplayResult& r : column.runs) {
    values.push_back(figure(r));
  }
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  return values[(values.size() - 1) / 2];
}

std::string quoted(const std::string& text) {
  std::ostringstream out;
  out << '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out << '\\' << c;
    } else if (byte < 0x20) {
      out << "\\u" << std::hex << std::setw(4) << std::setfill('0') << static_cast<unsigned>(byte) << std::dec;
    } else {
      out << c;
    }
  }
  out << '"';
  return out.str();
}

}  // namespace

std::uint64_t percentile(std::vector<std::uint64_t> values, double percent) {
  if (values.empty()) {
    return 0;
  }
  // The product is a hair above a whole number now and then (0.99 is no binary fraction); that is no rank more.
  const double exact = percent / 100.0 * static_cast<double>(values.size());
  const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(exact - 1e-9)));
  const std::size_t index = std::min(rank, values.size()) - 1;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index), values.end());
  return values[index];
}

void print_load(std::ostream& out, const Trace& trace, const BatcherStats& batch) {
  const TraceFigures figures = figures_of(trace);
  out << "trace   " << trace.source << "\n"
      << "        " << grouped(figures.requests) << " requests in " << fixed(figures.seconds, 0) << " s ("
      << fixed(figures.requests_per_second, 2) << " a second), median prompt " << figures.median_context
      << " tokens, median answer " << figures.median_generated << "\n"
      << "load    " << grouped(batch.steps) << " steps = " << fixed(batch.virtual_seconds, 1)
      << " s of virtual time, batch mean " << fixed(batch.batch_mean(), 1) << ", maximum " << batch.batch_max
      << ", tokens a step "
      << fixed(batch.steps == 0 ? 0 : static_cast<double>(batch.tokens_sum) / static_cast<double>(batch.steps), 0)
      << "\n        " << grouped(batch.finished) << " of " << grouped(figures.requests) << " requests answered";
  if (batch.too_long != 0) {
    out << ", " << grouped(batch.too_long) << " passed over as too long";
  }
  if (batch.finished + batch.too_long < figures.requests) {
    out << " when --steps ended it";
  }
  out << "; steps with a request waiting: " << grouped(batch.waits_for_blocks) << " for KV blocks, "
      << grouped(batch.waits_for_batch) << " for a place in the batch\n        " << grouped(batch.images)
      << " requests with an image, at most " << batch.most_images_waiting << " of them waiting\n";
}

void print_table(std::ostream& out, const Table& table) {
  using Figure = std::function<double(const ReplayResult&)>;
  const auto row = [&](const char* name, const std::function<std::string(const Column&)>& cell) {
    out << std::left << std::setw(44) << name << std::right;
    for (const Column& column : table.columns) {
      out << std::setw(16) << cell(column);
    }
    out << "\n";
  };
  const auto number = [&](const char* name, int digits, const Figure& figure) {
    row(name, [&](const Column& c) {
      const double value = median(c, figure);
      return digits == 0 ? grouped(static_cast<std::uint64_t>(value)) : fixed(value, digits);
    });
  };
  const auto us = [](const std::vector<std::uint64_t>& ns, double percent) {
    return static_cast<double>(percentile(ns, percent)) / 1e3;
  };
  row(("device: " + table.device).c_str(), [](const Column& c) { return c.name; });
  number("steps", 0, [](const ReplayResult& r) { return static_cast<double>(r.steps); });
  number("copies to the device a step", 2, [](const ReplayResult& r) { return per_step(r.copies, r); });
  number("bytes to the device a step", 0, [](const ReplayResult& r) { return per_step(r.copied_bytes, r); });
  number("host waits a step", 2, [](const ReplayResult& r) { return per_step(r.host_waits, r); });
  number("host wait a step, us", 1, [](const ReplayResult& r) { return per_step(r.host_wait_ns, r) / 1e3; });
  number("host time a step, median us", 1, [&](const ReplayResult& r) { return us(r.host_ns, 50); });
  number("host time a step, p99 us", 1, [&](const ReplayResult& r) { return us(r.host_ns, 99); });
  number("upkeep a step, median us", 1, [&](const ReplayResult& r) { return us(r.upkeep_ns, 50); });
  number("upkeep a step, p99 us", 1, [&](const ReplayResult& r) { return us(r.upkeep_ns, 99); });
  number("wall time a step, us", 1, [](const ReplayResult& r) {
    return r.steps == 0 ? 0 : r.wall_seconds * 1e6 / static_cast<double>(r.steps);
  });
  number("page-locked memory at most, KiB", 0,
         [](const ReplayResult& r) { return static_cast<double>(r.pinned_peak_bytes) / 1024; });
  number("device memory at most, KiB", 0,
         [](const ReplayResult& r) { return static_cast<double>(r.device_peak_bytes) / 1024; });
  number("wrong tokens handed out", 0, [](const ReplayResult& r) { return static_cast<double>(r.wrong_tokens); });
  number("WRONG STEPS", 0, [](const ReplayResult& r) { return static_cast<double>(r.wrong_steps); });
  row("fewest and most of a run", [](const Column& c) {
    const auto fewer = [](const ReplayResult& a, const ReplayResult& b) { return a.wrong_steps < b.wrong_steps; };
    const auto ends = std::minmax_element(c.runs.begin(), c.runs.end(), fewer);
    return c.runs.empty() ? "" : grouped(ends.first->wrong_steps) + " " + grouped(ends.second->wrong_steps);
  });
}

namespace {

void write_run(std::ostream& out, const Column& column, const ReplayResult& r) {
  out << "{\"name\": " << quoted(column.name) << ", \"steps\": " << r.steps
      << ", \"batch_mean\": " << fixed(r.batch.batch_mean(), 3) << ", \"batch_max\": " << r.batch.batch_max
      << ", \"requests_answered\": " << r.batch.finished << ", \"images\": " << r.batch.images
      << ", \"copies\": " << r.copies << ", \"copied_bytes\": " << r.copied_bytes
      << ", \"host_waits\": " << r.host_waits << ", \"host_wait_ns\": " << r.host_wait_ns
      << ", \"host_ns_median\": " << percentile(r.host_ns, 50) << ", \"host_ns_p99\": " << percentile(r.host_ns, 99)
      << ", \"upkeep_ns_median\": " << percentile(r.upkeep_ns, 50)
      << ", \"upkeep_ns_p99\": " << percentile(r.upkeep_ns, 99) << ", \"wall_seconds\": " << fixed(r.wall_seconds, 3)
      << ", \"pinned_peak_bytes\": " << r.pinned_peak_bytes << ", \"device_peak_bytes\": " << r.device_peak_bytes
      << ", \"wrong_tokens\": " << r.wrong_tokens << ", \"wrong_steps\": " << r.wrong_steps
      << ", \"wrong_steps_by_input\": {";
  for (std::size_t input = 0; input < kInputCount; ++input) {
    out << (input == 0 ? "" : ", ") << quoted(kInputNames[input]) << ": " << r.wrong_inputs[input];
  }
  out << "}}";
}

}  // namespace

void write_json(std::ostream& out, const Trace& trace, const Options& options, const std::vector<Table>& tables,
                const Figures& figures) {
  const TraceFigures of_trace = figures_of(trace);
  out << "{\n  \"trace\": {\"source\": " << quoted(trace.source) << ", \"requests\": " << of_trace.requests
      << ", \"seconds\": " << fixed(of_trace.seconds, 3)
      << ", \"median_context_tokens\": " << of_trace.median_context
      << ", \"median_generated_tokens\": " << of_trace.median_generated << "},\n"
      << "  \"options\": {\"speed\": " << fixed(options.batcher.speed, 3)
      << ", \"step_ms\": " << fixed(options.batcher.step_ms, 3)
      << ", \"max_batch\": " << options.batcher.shapes.max_batch
      << ", \"token_budget\": " << options.batcher.shapes.token_budget
      << ", \"max_seq_len\": " << options.batcher.shapes.max_seq_len
      << ", \"kv_blocks\": " << options.batcher.kv_blocks << ", \"image_percent\": " << options.batcher.image_percent
      << ", \"seed\": " << options.batcher.seed << ", \"rounds\": " << options.rounds << "},\n"
      << "  \"gpubuf\": ";
  write_figures(out, figures);
  out << ",\n  \"tables\": [";
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const Table& table = tables[i];
    out << (i == 0 ? "\n" : ",\n") << "    {\"device\": " << quoted(table.device)
        << ", \"compute_ns\": " << table.replay.compute_ns << ", \"link_latency_ns\": " << table.replay.link_latency_ns
        << ", \"link_bytes_per_second\": " << table.replay.link_bytes_per_second
        << ", \"streams\": " << table.replay.streams << ", \"depth\": " << table.replay.depth << ", \"runs\": [";
    bool first = true;
    for (const Column& column : table.columns) {
      for (const ReplayResult& r : column.runs) {
        out << (first ? "\n      " : ",\n      ");
        first = false;
        write_run(out, column, r);
      }
    }
    out << "\n    ]}";
  }
  out << "\n  ]\n}\n";
}

}  // namespace decode_replay
