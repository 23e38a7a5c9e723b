// Request traces: when each request of a service arrived, how long its prompt was and how long its answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <istream>
#include <stdexcept>
#include <string>
#include <vector>

namespace decode_replay {

struct Request {
  std::uint64_t arrival_ticks = 0;  // since the first request of the trace, in ticks of 100 ns
  std::uint32_t context_tokens = 0;
  std::uint32_t generated_tokens = 0;

  bool operator==(const Request& o) const {
    return arrival_ticks == o.arrival_ticks && context_tokens == o.context_tokens &&
           generated_tokens == o.generated_tokens;
  }
};

constexpr std::uint64_t kTicksPerMs = 10'000;
constexpr std::uint64_t kTicksPerSecond = 10'000'000;

struct Trace {
  std::string source;             // what to call it in a report
  std::vector<Request> requests;  // by arrival
};

// A trace that cannot be read. The message starts with "file:line:column: " where the place is known; line and
// column count from 1.
class TraceError : public std::runtime_error {
 public:
  explicit TraceError(const std::string& message) : std::runtime_error(message), line_(0), column_(0) {}
  TraceError(const std::string& file, std::size_t line, std::size_t column, const std::string& what)
      : std::runtime_error(file + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + what),
        line_(line),
        column_(column) {}
  std::size_t line() const { return line_; }
  std::size_t column() const { return column_; }

 private:
  std::size_t line_;
  std::size_t column_;
};

// Reads "TIMESTAMP,ContextTokens,GeneratedTokens" rows such as "2023-11-16 18:17:03.9799600,4808,10" (UTC, up to seven
// fractional digits). CRLF, blank lines, a byte order mark and a missing last newline are tolerated, and an empty file
// is a trace of no requests. Anything else that is not a row is refused: a guess would replay a load that never was.
Trace read_trace(std::istream& in, const std::string& name);
Trace read_trace_file(const std::string& path);

// Arrivals for machines without a trace: the same number of requests, the same mean rate, and lengths with the same
// medians and means as one hour of a production code-completion service. The same seed gives the same requests.
Trace generate_trace(std::uint64_t seed, std::size_t count);

struct TraceFigures {
  std::size_t requests = 0;
  double seconds = 0;
  double requests_per_second = 0;
  std::uint32_t median_context = 0;
  std::uint32_t median_generated = 0;
};
TraceFigures figures_of(const Trace& trace);

// Of the hour that the generator imitates.
constexpr std::size_t kServiceRequests = 8819;
constexpr double kServiceSeconds = 3435.95;  // from the first arrival to the last
constexpr std::uint32_t kServiceMedianContext = 1469, kServiceMaxContext = 7437;
constexpr std::uint32_t kServiceMedianGenerated = 13, kServiceMaxGenerated = 1899;
constexpr double kServiceMeanContext = 2047.8, kServiceMeanGenerated = 27.9;

}  // namespace decode_replay
