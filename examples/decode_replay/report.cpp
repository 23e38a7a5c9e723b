#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iomanip>
#include <sstream>
#include <string>

namespace decode_replay {
namespace {

std::string fixed(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

// 1234567 as 1,234,567.
std::string grouped(std::uint64_t value) {
  std::string digits = std::to_string(value);
  for (std::size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

double per_step(std::uint64_t value, const ReplayResult& r) {
  return r.steps == 0 ? 0 : static_cast<double>(value) / static_cast<double>(r.steps);
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
      << grouped(batch.waits_for_batch) << " for a place in the batch\n";
}

void print_table(std::ostream& out, const std::vector<ReplayResult>& results) {
  const auto row = [&](const char* name, const std::function<std::string(const ReplayResult&)>& cell) {
    out << std::left << std::setw(44) << name << std::right;
    for (const ReplayResult& r : results) {
      out << std::setw(14) << cell(r);
    }
    out << "\n";
  };
  const auto ns_as_us = [](std::uint64_t ns) { return fixed(static_cast<double>(ns) / 1e3, 1); };
  row("", [](const ReplayResult& r) { return r.name; });
  row("steps", [](const ReplayResult& r) { return grouped(r.steps); });
  row("copies to the device a step", [](const ReplayResult& r) { return fixed(per_step(r.copies, r), 2); });
  row("bytes to the device a step",
      [](const ReplayResult& r) { return grouped(static_cast<std::uint64_t>(per_step(r.copied_bytes, r))); });
  row("host waits a step", [](const ReplayResult& r) { return fixed(per_step(r.host_waits, r), 2); });
  row("host wait a step, us",
      [](const ReplayResult& r) { return fixed(per_step(r.host_wait_ns, r) / 1e3, 1); });
  row("host time a step, median us", [&](const ReplayResult& r) { return ns_as_us(percentile(r.host_ns, 50)); });
  row("host time a step, p99 us", [&](const ReplayResult& r) { return ns_as_us(percentile(r.host_ns, 99)); });
  row("wall time a step, us", [](const ReplayResult& r) {
    return fixed(per_step(static_cast<std::uint64_t>(r.wall_seconds * 1e9), r) / 1e3, 1);
  });
  row("wrong tokens handed out", [](const ReplayResult& r) { return grouped(r.wrong_tokens); });
  row("WRONG STEPS", [](const ReplayResult& r) { return grouped(r.wrong_steps); });
}

void write_json(std::ostream& out, const Trace& trace, const Options& options,
                const std::vector<ReplayResult>& results) {
  const TraceFigures figures = figures_of(trace);
  out << "{\n  \"trace\": {\"source\": " << quoted(trace.source) << ", \"requests\": " << figures.requests
      << ", \"seconds\": " << fixed(figures.seconds, 3) << ", \"median_context_tokens\": " << figures.median_context
      << ", \"median_generated_tokens\": " << figures.median_generated << "},\n"
      << "  \"options\": {\"speed\": " << fixed(options.batcher.speed, 3)
      << ", \"step_ms\": " << fixed(options.batcher.step_ms, 3)
      << ", \"max_batch\": " << options.batcher.shapes.max_batch
      << ", \"token_budget\": " << options.batcher.shapes.token_budget
      << ", \"max_seq_len\": " << options.batcher.shapes.max_seq_len << ", \"kv_blocks\": " << options.batcher.kv_blocks
      << ", \"seed\": " << options.batcher.seed << ", \"compute_ns\": " << options.replay.compute_ns
      << ", \"link_latency_ns\": " << options.replay.link_latency_ns
      << ", \"link_bytes_per_second\": " << options.replay.link_bytes_per_second
      << ", \"streams\": " << options.replay.streams << ", \"depth\": " << options.replay.depth << "},\n"
      << "  \"results\": [";
  for (std::size_t i = 0; i < results.size(); ++i) {
    const ReplayResult& r = results[i];
    out << (i == 0 ? "\n" : ",\n") << "    {\"name\": " << quoted(r.name) << ", \"steps\": " << r.steps
        << ", \"batch_mean\": " << fixed(r.batch.batch_mean(), 3) << ", \"batch_max\": " << r.batch.batch_max
        << ", \"requests_answered\": " << r.batch.finished << ", \"copies\": " << r.copies
        << ", \"copied_bytes\": " << r.copied_bytes << ", \"host_waits\": " << r.host_waits
        << ", \"host_wait_ns\": " << r.host_wait_ns << ", \"host_ns_median\": " << percentile(r.host_ns, 50)
        << ", \"host_ns_p99\": " << percentile(r.host_ns, 99) << ", \"wall_seconds\": " << fixed(r.wall_seconds, 3)
        << ", \"wrong_tokens\": " << r.wrong_tokens << ", \"wrong_steps\": " << r.wrong_steps
        << ", \"wrong_steps_by_input\": {";
    for (std::size_t input = 0; input < kInputCount; ++input) {
      out << (input == 0 ? "" : ", ") << quoted(kInputNames[input]) << ": " << r.wrong_inputs[input];
    }
    out << "}}";
  }
  out << "\n  ]\n}\n";
}

}  // namespace decode_replay
