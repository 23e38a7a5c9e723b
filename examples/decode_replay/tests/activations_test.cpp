#include <gtest/gtest.h>

#include "../gpubuf_activations.hpp"

namespace decode_replay {
namespace {

TEST(Activations, AreThereBeforeAStepOfAPredictedSize) {
  const gpubuf::device device = gpubuf::device::open();
  Activations activations(device, 2048);
  for (int i = 0; i < 3; ++i) {
    for (const std::uint32_t tokens : {512U, 1024U}) {
      activations.take(tokens);
    }
  }
  const auto stream = gpubuf::stream::create(device);
  auto held = gpubuf::host::hold(stream);
  {
    // A step of this size is under way, and keeps its memory.
    gpubuf::buffer busy = activations.take(512);
    static_cast<void>(busy.device_address(stream));
    gpubuf::host::call(stream, [](gpubuf::host::view&) {});
  }
  EXPECT_EQ(activations.made_ahead(), 0U);
  activations.prewarm();
  EXPECT_EQ(activations.made_ahead(), 1U) << "of 512; one of 1024 was free";
  const std::uint64_t made = activations.workspace().stats().made;
  activations.take(1024);
  activations.take(512);
  EXPECT_EQ(activations.workspace().stats().made, made) << "a step had to make its memory";
  EXPECT_EQ(activations.workspace().stats().waits, 0U);
  EXPECT_GT(activations.predictor().stats().hits, 0U);
  held.release();
}

}  // namespace
}  // namespace decode_replay
