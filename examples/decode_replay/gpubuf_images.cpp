#include "gpubuf_images.hpp"

#include <utility>

#include "images.hpp"

namespace decode_replay {

Images::Images(const gpubuf::device& device, const ReplayOptions& options) {
  // A burst of arrivals finds every block in use; the device's next upkeep then makes more. In quiet times they go again.
  gpubuf::pool_options uploads;
  uploads.label = "image uploads";
  uploads.block_bytes = kPixelBytes;
  uploads.block_count = options.uploads;
  uploads.max_blocks = options.max_uploads;
  uploads.growth_percent = 200;
  uploads.cool_down_ns = options.upload_cool_down_ns;
  uploads.device_side = static_cast<std::uint32_t>(gpubuf::twin::at_once);
  uploads_ = gpubuf::pool::create(device, uploads);

  // Embeddings wait as long as their requests do. Device memory has room for some.
  gpubuf::tiers_options tiers;
  tiers.label = "image embeddings";
  tiers.moves_per_step = 1;  // what went down waits there until its prompt is computed, for the most part
  tiers.device_bytes = options.device_embeddings * kEmbeddingBytes;
  tiers.pinned_bytes = std::uint64_t{8192} * kEmbeddingBytes;  // a budget: memory is made as it is needed
  embeddings_ = gpubuf::tiers::create(device, tiers);

  // When three quarters of that are used, those that are worth it least go down until it is half, so that the next burst
  // finds room.
  gpubuf::pressure_options pressure;
  pressure.label = "image embeddings";
  pressure.high_percent = 75;
  pressure.low_percent = 50;
  pressure_ = gpubuf::pressure::create(device, pressure);
  pressure_.add(embeddings_);
}

void Images::encode_arrived(const StepData& step, Launcher& kernels, const gpubuf::stream& on) {
  for (std::size_t i = 0; i < step.arrived_images.size(); ++i) {
    // Waits where every block is still uploaded from, or read by the encoder: what gives it back is a fence, not a call.
    gpubuf::block pixels = uploads_.acquire();
    pixels.copy_in(gpubuf::span<const std::uint64_t>(step.pixels.data() + i * kPixelWords, kPixelWords));

    // In device memory if there is room, else the encoder writes to page-locked memory.
    auto made = embeddings_.create_block<gpubuf::no_throw>(kEmbeddingBytes, gpubuf::placement::device);
    gpubuf::tiered_block embeddings =
        made ? std::move(*made) : embeddings_.create_block(kEmbeddingBytes, gpubuf::placement::pinned);
    gpubuf::tiered_access to = embeddings.acquire(on, gpubuf::access::write, gpubuf::placement::none);
    kernels.encode(on, pixels.publish(on), to.device_address());
    to.release();
    pixels.release_after(on);
    waiting_.emplace(step.arrived_images[i], std::move(embeddings));
  }
}

void Images::begin_reading(const StepData& step, const gpubuf::stream& on, std::vector<gpubuf::address>& addresses) {
  addresses.clear();
  open_.clear();
  for (const ImageRead& read : step.image_reads) {
    // Brings it back up where pressure sent it down; the stream waits for that on the device.
    open_.push_back(waiting_.at(read.image).acquire(on));
    addresses.push_back(open_.back().device_address());
  }
}

void Images::done_reading(const StepData& step) {
  open_.clear();  // fenced behind the kernels
  for (const ImageRead& read : step.image_reads) {
    if (read.last) {
      waiting_.erase(read.image);  // its memory is given out again after that fence
    }
  }
}

}  // namespace decode_replay
