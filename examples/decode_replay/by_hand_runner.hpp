// Staging as many runtimes do it by hand: one pinned array an input, rewritten in place in each step.
#pragma once

#include <gpubuf/gpubuf.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "replay.hpp"

namespace decode_replay {

// What is right here: the order on the device. Copies wait for the kernels of the step before, kernels for the copies,
// and sampled tokens are double-buffered. What is missing: nothing makes the host wait for the copies of step n before
// it writes step n + 1 into the same arrays. The loop's wait for the tokens of step n - 1 says nothing about them.
class ByHandRunner : public Runner {
 public:
  ByHandRunner(const ReplayOptions& options, const Shapes& shapes);

  const char* name() const override { return "by hand"; }
  void submit(const StepData& step, Launcher& kernels) override;
  void take_tokens(std::uint64_t step, const TakeTokens& take) override;
  const gpubuf::device& device() const override { return device_; }
  const gpubuf::stream& copy_stream() const override { return copy_ ? copy_ : compute_; }
  const gpubuf::stream& compute_stream() const override { return compute_; }

 private:
  template <class T>
  struct PinnedArray {
    gpubuf::buffer buffer;
    T* host = nullptr;
    gpubuf::address device = 0;
  };
  struct Output {
    PinnedArray<std::int32_t> tokens;
    gpubuf::event ready;
    std::size_t count = 0;
  };

  template <class T>
  PinnedArray<T> make_array(std::uint64_t count) const;
  template <class T>
  void upload(PinnedArray<T>& to, const std::vector<T>& values);
  void upload_changed_rows(const StepData& step);

  gpubuf::device device_;
  gpubuf::stream compute_;
  gpubuf::stream copy_;  // empty: copies go on the compute stream
  gpubuf::event copied_;
  gpubuf::event kernels_done_;
  PinnedArray<std::int32_t> input_ids_;
  PinnedArray<std::int64_t> positions_;
  PinnedArray<std::int32_t> query_start_loc_;
  PinnedArray<std::int32_t> seq_lens_;
  PinnedArray<std::int64_t> slot_mapping_;
  PinnedArray<float> temperature_;
  PinnedArray<std::int32_t> top_k_;
  PinnedArray<float> top_p_;
  PinnedArray<std::int64_t> seeds_;
  PinnedArray<std::int32_t> block_table_;
  std::array<Output, 2> outputs_;  // of the two steps that may be under way
  DeviceAddresses addresses_;
};

}  // namespace decode_replay
