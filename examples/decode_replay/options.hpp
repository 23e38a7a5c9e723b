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
