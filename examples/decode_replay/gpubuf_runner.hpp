// Staging with gpubuf: the inputs of a decode step in slots, one copy for all of them; the cells of the block table that
// changed; and nothing to race with.
#pragma once

#include <gpubuf/gpubuf.hpp>

#include <array>
#include <cstdint>

#include "gpubuf_activations.hpp"
#include "gpubuf_images.hpp"
#include "replay.hpp"

namespace decode_replay {

class GpubufRunner : public Runner {
 public:
  GpubufRunner(const ReplayOptions& options, const Shapes& shapes);

  const char* name() const override { return "gpubuf"; }
  void submit(const StepData& step, Launcher& kernels) override;
  void take_tokens(std::uint64_t step, const TakeTokens& take) override;
  void upkeep() override;
  Copies copies_to_host() const override;
  const gpubuf::device& device() const override { return device_; }
  const gpubuf::stream& copy_stream() const override { return copy_ ? copy_ : compute_; }
  const gpubuf::stream& compute_stream() const override { return compute_; }
  const gpubuf::slots& slots() const { return slots_; }
  const gpubuf::staged_rows<std::int32_t>& block_table() const { return block_table_; }
  const Images& images() const { return images_; }
  const Activations& activations() const { return activations_; }

 private:
  gpubuf::device device_;
  gpubuf::stream compute_;
  gpubuf::stream copy_;  // empty: copies go on the compute stream
  gpubuf::slots slots_;

  gpubuf::slot<std::int32_t> input_ids_;
  gpubuf::slot<std::int64_t> positions_;
  gpubuf::slot<std::int32_t> query_start_loc_;
  gpubuf::slot<std::int32_t> seq_lens_;
  gpubuf::slot<std::int64_t> slot_mapping_;
  gpubuf::slot<float> temperature_;
  gpubuf::slot<std::int32_t> top_k_;
  gpubuf::slot<float> top_p_;
  gpubuf::slot<std::int64_t> seeds_;
  gpubuf::staged_rows<std::int32_t> block_table_;
  Images images_;
  Activations activations_;
  gpubuf::buffer sampled_;
  DeviceAddresses addresses_;
  std::uint32_t upkeeps_ = 0;
  std::array<gpubuf::readback<std::int32_t>, 2> tokens_;  // of the two steps that may be under way
};

}  // namespace decode_replay
