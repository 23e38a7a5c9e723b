#include "trace.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "random.hpp"

namespace decode_replay {
namespace {

constexpr char kHeader[] = "TIMESTAMP,ContextTokens,GeneratedTokens";

// Days since 1970-01-01 in the Gregorian calendar.
std::int64_t days_from_civil(std::int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + static_cast<std::int64_t>(day_of_era) - 719468;
}

unsigned days_in_month(unsigned year, unsigned month) {
  constexpr unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap ? 1U : 0U);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// One line with a position in it, so that whatever is refused can be pointed at.
class Cursor {
 public:
  Cursor(const std::string& file, std::size_t line, const std::string& text, std::size_t first_column)
      : file_(file), line_(line), text_(text), first_column_(first_column) {}

  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  std::size_t position() const { return at_; }

  [[noreturn]] void refuse(const std::string& what) const { refuse_at(at_, what); }
  [[noreturn]] void refuse_at(std::size_t position, const std::string& what) const {
    throw TraceError(file_, line_, first_column_ + position, what);
  }

  void expect(char wanted, const char* where) {
    if (at_end() || text_[at_] != wanted) {
      refuse(std::string("expected '") + wanted + "' " + where + ", found " + found());
    }
    ++at_;
  }

  // Exactly `digits` digits with a value in [low, high].
  unsigned fixed(unsigned digits, unsigned low, unsigned high, const char* what) {
    const std::size_t start = at_;
    unsigned value = 0;
    for (unsigned i = 0; i < digits; ++i) {
      if (!is_digit(peek())) {
        refuse(std::string("expected a digit of the ") + what + ", found " + found());
      }
      value = value * 10 + static_cast<unsigned>(text_[at_++] - '0');
    }
    if (value < low || value > high) {
      refuse_at(start, std::string("the ") + what + " is out of range");
    }
    return value;
  }

  std::uint32_t number(std::uint32_t low, const char* what) {
    const std::size_t start = at_;
    std::uint64_t value = 0;
    while (is_digit(peek())) {
      value = value * 10 + static_cast<std::uint64_t>(text_[at_++] - '0');
      if (value > std::numeric_limits<std::uint32_t>::max()) {
        refuse_at(start, std::string(what) + " does not fit in 32 bits");
      }
    }
    if (at_ == start) {
      refuse(std::string("expected a whole number for ") + what + ", found " + found());
    }
    if (value < low) {
      refuse_at(start, std::string(what) + " must be at least " + std::to_string(low));
    }
    return static_cast<std::uint32_t>(value);
  }

  // The ticks of a fraction of a second, the point already read.
  std::uint64_t fraction() {
    std::uint64_t ticks = 0;
    unsigned digits = 0;
    for (; is_digit(peek()); ++digits) {
      if (digits == 7) {
        refuse("more than seven fractional digits: the ticks of a trace are 100 ns");
      }
      ticks = ticks * 10 + static_cast<std::uint64_t>(text_[at_++] - '0');
    }
    if (digits == 0) {
      refuse("expected a digit after the decimal point, found " + found());
    }
    for (; digits < 7; ++digits) {
      ticks *= 10;
    }
    return ticks;
  }

 private:
  std::string found() const {
    if (at_end()) {
      return "the end of the line";
    }
    const char c = text_[at_];
    if (c < ' ' || c > '~') {
      constexpr char hex[] = "0123456789abcdef";
      const auto byte = static_cast<unsigned char>(c);
      return std::string("the byte 0x") + hex[byte >> 4U] + hex[byte & 15U];
    }
    return std::string("'") + c + "'";
  }

  const std::string& file_;
  std::size_t line_;
  const std::string& text_;
  std::size_t first_column_;
  std::size_t at_ = 0;
};

// Ticks since 1970.
std::int64_t parse_timestamp(Cursor& cursor) {
  const unsigned year = cursor.fixed(4, 1, 9999, "year");
  cursor.expect('-', "after the year");
  const unsigned month = cursor.fixed(2, 1, 12, "month");
  cursor.expect('-', "after the month");
  const unsigned day = cursor.fixed(2, 1, days_in_month(year, month), "day");
  cursor.expect(' ', "between date and time");
  const unsigned hour = cursor.fixed(2, 0, 23, "hour");
  cursor.expect(':', "after the hour");
  const unsigned minute = cursor.fixed(2, 0, 59, "minute");
  cursor.expect(':', "after the minute");
  const unsigned second = cursor.fixed(2, 0, 59, "second");
  std::uint64_t ticks = 0;
  if (cursor.peek() == '.') {
    cursor.expect('.', "");
    ticks = cursor.fraction();
  }
  const std::int64_t seconds =
      days_from_civil(year, month, day) * 86400 + static_cast<std::int64_t>(hour * 3600 + minute * 60 + second);
  return seconds * static_cast<std::int64_t>(kTicksPerSecond) + static_cast<std::int64_t>(ticks);
}

struct Row {
  std::int64_t ticks = 0;
  std::uint32_t context = 0;
  std::uint32_t generated = 0;
};

Row parse_row(Cursor& cursor) {
  Row row;
  row.ticks = parse_timestamp(cursor);
  cursor.expect(',', "after TIMESTAMP");
  row.context = cursor.number(1, "ContextTokens");
  cursor.expect(',', "after ContextTokens");
  row.generated = cursor.number(0, "GeneratedTokens");
  if (!cursor.at_end()) {
    cursor.refuse("expected the end of the line after GeneratedTokens");
  }
  return row;
}

void check_header(Cursor& cursor, const std::string& text) {
  if (text == kHeader) {
    return;
  }
  std::size_t same = 0;
  while (same < text.size() && same + 1 < sizeof kHeader && text[same] == kHeader[same]) {
    ++same;
  }
  cursor.refuse_at(same, std::string("expected the header ") + kHeader);
}

}  // namespace

Trace read_trace(std::istream& in, const std::string& name) {
  Trace trace;
  trace.source = name;
  std::vector<Row> rows;
  std::string line;
  bool have_header = false;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    std::size_t first_column = 1;
    if (number == 1 && line.compare(0, 3, "\xEF\xBB\xBF") == 0) {
      line.erase(0, 3);
      first_column = 4;
    }
    if (!line.empty() && line.back() == '\r') {
      line.pop_back();
    }
    if (line.empty()) {
      continue;
    }
    Cursor cursor(name, number, line, first_column);
    if (!have_header) {
      check_header(cursor, line);
      have_header = true;
      continue;
    }
    rows.push_back(parse_row(cursor));
  }
  if (in.bad()) {
    throw TraceError(name + ": reading failed");
  }
  // Services log a request where it ends or where it starts; the replay needs the order of arrival.
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.ticks < b.ticks; });
  trace.requests.reserve(rows.size());
  for (const Row& row : rows) {
    trace.requests.push_back(
        {static_cast<std::uint64_t>(row.ticks - rows.front().ticks), row.context, row.generated});
  }
  return trace;
}

Trace read_trace_file(const std::string& path) {
  // A directory opens like a file and then reads as an empty one: peek() finds out.
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    throw TraceError(path + ": cannot be opened");
  }
  in.peek();
  if (in.bad()) {
    throw TraceError(path + ": cannot be read");
  }
  in.clear();
  return read_trace(in, path);
}

namespace {

// The median of a log-normal length is exp(mu), its mean exp(mu + sigma^2 / 2): both are known, so sigma is.
std::uint32_t draw_length(Random& random, double median, double mean, std::uint32_t maximum) {
  constexpr double pi = 3.14159265358979323846;
  const double sigma = std::sqrt(2.0 * std::log(mean / median));
  const double radius = std::sqrt(-2.0 * std::log(random.unit()));
  const double normal = radius * std::cos(2.0 * pi * random.unit());
  const double length = std::floor(median * std::exp(sigma * normal) + 0.5);
  return static_cast<std::uint32_t>(std::min(std::max(length, 1.0), static_cast<double>(maximum)));
}

}  // namespace

Trace generate_trace(std::uint64_t seed, std::size_t count) {
  Trace trace;
  trace.source = "generated arrivals (seed " + std::to_string(seed) + ")";
  trace.requests.reserve(count);
  Random random(seed);
  const double mean_gap = kServiceSeconds / static_cast<double>(kServiceRequests - 1);
  double seconds = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Request request;
    request.arrival_ticks = static_cast<std::uint64_t>(seconds * static_cast<double>(kTicksPerSecond));
    request.context_tokens = draw_length(random, kServiceMedianContext, kServiceMeanContext, kServiceMaxContext);
    request.generated_tokens =
        draw_length(random, kServiceMedianGenerated, kServiceMeanGenerated, kServiceMaxGenerated);
    trace.requests.push_back(request);
    seconds += -mean_gap * std::log(random.unit());
  }
  return trace;
}

TraceFigures figures_of(const Trace& trace) {
  TraceFigures figures;
  figures.requests = trace.requests.size();
  if (trace.requests.empty()) {
    return figures;
  }
  figures.seconds =
      static_cast<double>(trace.requests.back().arrival_ticks) / static_cast<double>(kTicksPerSecond);
  if (figures.seconds > 0) {
    figures.requests_per_second = static_cast<double>(figures.requests - 1) / figures.seconds;
  }
  std::vector<std::uint32_t> lengths(trace.requests.size());
  const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>((lengths.size() - 1) / 2);
  std::transform(trace.requests.begin(), trace.requests.end(), lengths.begin(),
                 [](const Request& r) { return r.context_tokens; });
  std::nth_element(lengths.begin(), middle, lengths.end());
  figures.median_context = *middle;
  std::transform(trace.requests.begin(), trace.requests.end(), lengths.begin(),
                 [](const Request& r) { return r.generated_tokens; });
  std::nth_element(lengths.begin(), middle, lengths.end());
  figures.median_generated = *middle;
  return figures;
}

}  // namespace decode_replay
