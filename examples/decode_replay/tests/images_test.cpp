// Images with gpubuf, without luck: the stream is held shut, and what would take time is asked for.
#include "../images.hpp"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "../gpubuf_images.hpp"

namespace decode_replay {
namespace {

using Content = std::vector<std::uint64_t>;

Content pixels_of(std::uint64_t image) {
  Content pixels(kPixelWords);
  draw_pixels(image, pixels.data());
  return pixels;
}

Content embeddings_of(std::uint64_t image) {
  Content embeddings(kEmbeddingWords);
  encode_pixels(pixels_of(image).data(), embeddings.data());
  return embeddings;
}

class Encoder : public Launcher {
 public:
  void launch(const gpubuf::stream&, const DeviceAddresses&) override {}
  void encode(const gpubuf::stream& stream, gpubuf::address from, gpubuf::address to) override {
    gpubuf::host::call(stream, [from, to](gpubuf::host::view& memory) {
      Content pixels(kPixelWords), embeddings(kEmbeddingWords);
      memory.read(from, pixels.data(), kPixelBytes);
      encode_pixels(pixels.data(), embeddings.data());
      memory.write(to, embeddings.data(), kEmbeddingBytes);
    });
  }
};

class ImagesTest : public testing::Test {
 protected:
  Images make() { return Images(device_, options_); }

  void arrive(Images& images, const std::vector<std::uint64_t>& numbers) {
    StepData step;
    step.arrived_images = numbers;
    for (const std::uint64_t image : numbers) {
      const Content pixels = pixels_of(image);
      step.pixels.insert(step.pixels.end(), pixels.begin(), pixels.end());
    }
    images.encode_arrived(step, encoder_, copies_);
  }

  // What kernels on the compute stream see of each image.
  std::map<std::uint64_t, Content> read(Images& images, const std::vector<std::uint64_t>& numbers, bool last) {
    StepData step;
    for (const std::uint64_t image : numbers) {
      step.image_reads.push_back({0, image, last});
    }
    std::vector<gpubuf::address> at;
    images.begin_reading(step, compute_, at);
    std::map<std::uint64_t, Content> seen;
    for (std::size_t i = 0; i < at.size(); ++i) {
      Content* into = &seen.emplace(numbers[i], Content(kEmbeddingWords)).first->second;
      const gpubuf::address from = at[i];
      gpubuf::host::call(compute_, [into, from](gpubuf::host::view& memory) {
        memory.read(from, into->data(), kEmbeddingBytes);
      });
    }
    images.done_reading(step);
    compute_.synchronize();
    return seen;
  }

  void expect_right(Images& images, const std::vector<std::uint64_t>& numbers, bool last) {
    for (const auto& [image, seen] : read(images, numbers, last)) {
      EXPECT_EQ(seen, embeddings_of(image)) << "image " << image;
    }
  }

  ReplayOptions options_;
  gpubuf::device device_ = gpubuf::device::open();
  gpubuf::stream copies_ = gpubuf::stream::create(device_);
  gpubuf::stream compute_ = gpubuf::stream::create(device_);
  Encoder encoder_;
};

TEST_F(ImagesTest, ABurstMakesUploadsAndQuietLetsThemGo) {
  options_.uploads = 2;
  options_.upload_cool_down_ns = 0;
  Images images = make();
  auto held = gpubuf::host::hold(copies_);
  arrive(images, {1, 2});
  EXPECT_EQ(images.uploads().acquire<gpubuf::no_throw>(gpubuf::no_wait).status(), gpubuf::status::busy)
      << "both are still copied from";
  EXPECT_EQ(images.uploads().stats().block_count, 2U) << "not on the path of a step";
  device_.maintain();
  EXPECT_EQ(images.uploads().stats().block_count, 4U);
  arrive(images, {3, 4});  // would wait for ever without
  EXPECT_EQ(images.uploads().stats().fence_waits, 0U);
  held.release();
  expect_right(images, {1, 2, 3, 4}, true);
  device_.synchronize();
  for (int i = 0; i < 4; ++i) {
    device_.maintain();
  }
  EXPECT_EQ(images.uploads().stats().block_count, 2U);
  EXPECT_EQ(images.uploads().stats().shrinks, 1U);
}

TEST_F(ImagesTest, PressureSendsWaitingOnesDownAndAReadBringsThemBack) {
  options_.device_embeddings = 4;
  Images images = make();
  arrive(images, {1, 2, 3, 4});
  device_.synchronize();
  EXPECT_EQ(images.embeddings().tier(gpubuf::placement::device).blocks, 4U);
  device_.maintain();
  EXPECT_EQ(images.pressure().stats().rises, 1U);
  device_.synchronize();
  device_.maintain();
  EXPECT_EQ(images.embeddings().tier(gpubuf::placement::device).blocks, 2U) << "down to the low mark";
  EXPECT_EQ(images.pressure().stats().falls, 1U);
  expect_right(images, {1, 2, 3, 4}, false);
  EXPECT_EQ(images.embeddings().stats().promotions, 2U);
  expect_right(images, {4, 3, 2, 1}, true);
  device_.synchronize();
  device_.maintain();
  EXPECT_EQ(images.embeddings().tier(gpubuf::placement::device).blocks, 0U);
  EXPECT_EQ(images.embeddings().tier(gpubuf::placement::device).used_bytes, 0U);
}

TEST_F(ImagesTest, MoreThanDeviceMemoryHasRoomForAreEncodedAllTheSame) {
  options_.device_embeddings = 2;
  Images images = make();
  arrive(images, {1, 2, 3, 4, 5});
  EXPECT_EQ(images.embeddings().tier(gpubuf::placement::pinned).blocks, 3U);
  for (const std::uint64_t image : {5, 4, 3, 2, 1}) {
    expect_right(images, {image}, true);
  }
}

}  // namespace
}  // namespace decode_replay
