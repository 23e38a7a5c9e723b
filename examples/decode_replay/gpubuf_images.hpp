// Images with gpubuf: uploads through a pool, embeddings in tiers, and memory pressure that sends those of waiting requests
// out of device memory.
#pragma once

#include <gpubuf/gpubuf.hpp>

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "replay.hpp"

namespace decode_replay {

class Images {
 public:
  Images() = default;
  Images(const gpubuf::device& device, const ReplayOptions& options);

  // Uploads the images that arrived and queues the encoder behind each, on this stream.
  void encode_arrived(const StepData& step, Launcher& kernels, const gpubuf::stream& on);
  // Gives the address of each image that the step reads, in device memory, for work that is queued on the stream before
  // done_reading().
  void begin_reading(const StepData& step, const gpubuf::stream& on, std::vector<gpubuf::address>& addresses);
  void done_reading(const StepData& step);

  const gpubuf::pool& uploads() const { return uploads_; }
  const gpubuf::tiers& embeddings() const { return embeddings_; }
  const gpubuf::pressure& pressure() const { return pressure_; }

 private:
  gpubuf::pool uploads_;
  gpubuf::tiers embeddings_;
  gpubuf::pressure pressure_;
  std::unordered_map<std::uint64_t, gpubuf::tiered_block> waiting_;  // by the image's number
  std::vector<gpubuf::tiered_access> open_;
};

}  // namespace decode_replay
