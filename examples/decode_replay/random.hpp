// Seeded numbers that are the same on every platform, which the distributions of <random> are not.
#pragma once

#include <cstdint>

namespace decode_replay {

// SplitMix64's mixer: every bit of the input moves every bit of the result.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(mix(seed)) {}
  std::uint64_t next() { return mix(state_++); }
  // In (0, 1], so that its logarithm is finite.
  double unit() { return (static_cast<double>(next() >> 11U) + 1.0) * 0x1.0p-53; }

 private:
  std::uint64_t state_;
};

}  // namespace decode_replay
