// Staging as runtimes do it by hand: one pinned array an input, rewritten in place in each step; with an event that the host
// waits for before it does, or without.
#pragma once

#include <gpubuf/gpubuf.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "images.hpp"
#include "replay.hpp"

namespace decode_replay {

// What makes the host wait before it writes step n + 1 into the arrays that the copies of step n read.
enum class Fence {
  // Nothing does. The loop's wait for the tokens of step n - 1 says nothing about the copies of step n.
  kNone,
  // One event a step, recorded behind its copies and waited for before any array is rewritten, as vLLM's V1 runner does
  // with its prepare_inputs_event.
  kEvent,
};

// What is right here either way: the order on the device. Copies wait for the kernels of the step before, kernels for the
// copies, and sampled tokens are double-buffered.
class ByHandRunner : public Runner {
 public:
  ByHandRunner(const ReplayOptions& options, const Shapes& shapes, Fence fence);

  const char* name() const override { return fence_ == Fence::kNone ? "unfenced" : "event a step"; }
  void submit(const StepData& step, Launcher& kernels) override;
  void take_tokens(std::uint64_t step, const TakeTokens& take) override;
  const gpubuf::device& device() const override { return device_; }
  const gpubuf::stream& copy_stream() const override { return copy_ ? copy_ : compute_; }
  const gpubuf::stream& compute_stream() const override { return compute_; }
  const gpubuf::event& copied() const { return copied_; }

 private:
  // The arrays' memory went to work that the library knows nothing of: once they have ended, a drain frees it.
  struct DrainedDevice : gpubuf::device {
    explicit DrainedDevice(gpubuf::device device) : gpubuf::device(std::move(device)) {}
    DrainedDevice(const DrainedDevice&) = delete;
    DrainedDevice& operator=(const DrainedDevice&) = delete;
    ~DrainedDevice() { static_cast<void>(drain<gpubuf::no_throw>()); }
  };
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
  void encode_images(const StepData& step, Launcher& kernels);
  void find_images(const StepData& step);
  void forget_images(const StepData& step);

  Fence fence_;
  DrainedDevice device_;
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
  PinnedArray<std::uint64_t> pixels_;
  std::vector<gpubuf::buffer> embedding_memory_;  // as much as ever waited at a time
  std::vector<gpubuf::address> free_embeddings_;
  std::unordered_map<std::uint64_t, gpubuf::address> embeddings_;
  gpubuf::buffer activations_;  // of the largest step
  std::array<Output, 2> outputs_;  // of the two steps that may be under way
  DeviceAddresses addresses_;
};

}  // namespace decode_replay
