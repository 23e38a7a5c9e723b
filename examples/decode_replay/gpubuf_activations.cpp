#include "gpubuf_activations.hpp"

#include "step_data.hpp"

namespace decode_replay {
namespace {

gpubuf::spec of_bytes(std::uint64_t bytes) { return gpubuf::spec::of<std::uint8_t>({bytes}, gpubuf::placement::none); }

}  // namespace

Activations::Activations(const gpubuf::device& device, std::uint32_t max_tokens) {
  gpubuf::workspace_options limits;
  limits.label = "activations";
  limits.max_bytes = std::uint64_t{max_tokens} * kActivationBytesPerToken * 8;  // sizes that lie idle for longest go
  workspace_ = gpubuf::workspace::create(device, limits);
  gpubuf::predictor_options sizes;
  sizes.label = "activations";
  predictor_ = gpubuf::predictor::create(device, sizes);
}

gpubuf::buffer Activations::take(std::uint32_t tokens) {
  const std::uint64_t bytes = tokens * kActivationBytesPerToken;
  predictor_.record(bytes);
  return workspace_.allocate(of_bytes(bytes));
}

void Activations::prewarm() {
  predictor_.prewarm([this](std::uint64_t bytes) -> std::uint64_t {
    // Taken and given back: now there is one that is free and done with.
    const std::uint64_t before = workspace_.stats().made;
    static_cast<void>(workspace_.allocate(of_bytes(bytes)));
    const std::uint64_t made = workspace_.stats().made - before;
    made_ahead_ += made;
    return made * bytes;
  });
}

}  // namespace decode_replay
