// What the programs of the GPU suite print: one line of JSON for each check, at once, so that a killed run still counts.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <type_traits>
#include <vector>

namespace lines {

/// A line in the making: {"check": name, "outcome": ..., data...}.
class Line {
 public:
  explicit Line(const std::string& check) : text_("{\"check\": " + quoted(check)) {}
  Line& put(const std::string& name, const std::string& value) { return raw(name, quoted(value)); }
  Line& put(const std::string& name, const char* value) { return put(name, std::string(value)); }
  Line& put(const std::string& name, double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.6g", value);
    return raw(name, text);
  }
  template <class T, class = std::enable_if_t<std::is_integral_v<T>>>
  Line& put(const std::string& name, T value) {
    return raw(name, std::to_string(value));
  }
  /// pass, fail, info or skip
  void print(const char* outcome) {
    put("outcome", outcome);
    std::printf("%s}\n", text_.c_str());
    std::fflush(stdout);
  }

 private:
  Line& raw(const std::string& name, const std::string& value) {
    text_ += ", " + quoted(name) + ": " + value;
    return *this;
  }
  static std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
    return out + "\"";
  }
  std::string text_;
};

using clock = std::chrono::steady_clock;

/// Microseconds from `from` to now.
inline double since(clock::time_point from) {
  return std::chrono::duration<double, std::micro>(clock::now() - from).count();
}

inline double quantile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  const auto at = std::min(values.size() - 1, static_cast<std::size_t>(part * static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}
inline double median(const std::vector<double>& values) { return quantile(values, 0.5); }

/// The value after `--name`, or `otherwise`.
inline std::string option(int count, char** arguments, const std::string& name, const std::string& otherwise) {
  for (int i = 1; i + 1 < count; ++i) {
    if (arguments[i] == "--" + name) return arguments[i + 1];
  }
  return otherwise;
}
inline std::uint64_t option(int count, char** arguments, const std::string& name, std::uint64_t otherwise) {
  return std::stoull(option(count, arguments, name, std::to_string(otherwise)));
}

}  // namespace lines
