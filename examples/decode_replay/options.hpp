// The command line of the replay.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "batcher.hpp"
#include "replay.hpp"

namespace decode_replay {

struct Options {
  bool help = false;
  std::string trace_path;  // empty: look for one, else generate arrivals
  std::string json_path;   // empty: none
  std::string report_path;  // of gpubuf's report as JSON; empty: none
  std::uint32_t rounds = 3;
  bool with_delays = true;     // the emulated device of the options below
  bool without_delays = true;  // one whose copies and kernels take no time of their own
  BatcherOptions batcher;
  ReplayOptions replay;
};

class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws UsageError with a message that names the option and what it accepts.
Options parse_options(int argc, const char* const* argv);
std::string usage(const char* program);

}  // namespace decode_replay
