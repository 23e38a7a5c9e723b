// The memory that a step's kernels need for themselves, as large as the step: from a workspace, made before it is wanted.
#pragma once

#include <gpubuf/gpubuf.hpp>

#include <cstdint>

namespace decode_replay {

class Activations {
 public:
  Activations() = default;
  Activations(const gpubuf::device& device, std::uint32_t max_tokens);

  // For a step of so many tokens; its end gives it back, behind the work of the streams that its address was given to.
  gpubuf::buffer take(std::uint32_t tokens);
  // Has memory ready for the sizes that the next step may have. Where nobody waits.
  void prewarm();

  const gpubuf::predictor& predictor() const { return predictor_; }
  const gpubuf::workspace& workspace() const { return workspace_; }
  std::uint64_t made_ahead() const { return made_ahead_; }

 private:
  gpubuf::workspace workspace_;
  gpubuf::predictor predictor_;
  std::uint64_t made_ahead_ = 0;
};

}  // namespace decode_replay
