// A device: opening one, what it counts, how it is waited for, and how memory leaves it.
#include "support.hpp"

#include <thread>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::status;

TEST(Device, OpensTheBestBackendUnlessOneIsNamed) {
  const auto automatic = gpubuf::device::open();
  EXPECT_NE(gpubuf::backend::automatic, automatic.backend());
  EXPECT_FALSE(automatic.why_backend().empty());
  const auto named = gpubuf::device::open(gpubuf::backend::host);
  EXPECT_EQ(gpubuf::backend::host, named.backend());
  EXPECT_NE(std::string::npos, named.why_backend().find("host")) << named.why_backend();
}

TEST(Device, ABackendThatIsNotThereSaysSo) {
  if (gpubuf::device::count<no_throw>(gpubuf::backend::cuda).value() > 0) GTEST_SKIP() << "there is a GPU";
  EXPECT_STATUS(status::driver_missing, gpubuf::device::open<no_throw>(gpubuf::backend::cuda));
  EXPECT_FALSE(gpubuf::last_error_message().empty());
}

TEST(Device, OrdinalsCountFromZero) {
  const std::uint32_t count = gpubuf::device::count(gpubuf::backend::host);
  EXPECT_GE(count, 1u);
  EXPECT_OK(gpubuf::device::open<no_throw>(gpubuf::backend::host, count - 1));
  const auto beyond = gpubuf::device::open<no_throw>(gpubuf::backend::host, count);
  EXPECT_FALSE(beyond.ok());
  EXPECT_TRUE(beyond.status() == status::not_found || beyond.status() == status::invalid_argument) << gpubuf::status_name(beyond.status());
}

TEST(Device, NullOptionsAreTheDefaults) {
  gpubuf_device* raw = nullptr;
  ASSERT_OK(gpubuf_device_open(nullptr, &raw));
  const auto device = gpubuf::device::adopt(raw);
  EXPECT_OK(gpubuf::stream::create<no_throw>(device));
}

class DeviceTest : public test::Device {};

TEST_F(DeviceTest, CountsTheMemoryOfItsObjects) {
  const auto before = device.stats();
  auto buffer = gpubuf::buffer::create<float>(device, {1024});
  auto pageable = gpubuf::buffer::create<float>(device, {256}, gpubuf::placement::pageable, gpubuf::placement::none);
  auto stats = device.stats();
  EXPECT_EQ(before.pinned_bytes + 4096, stats.pinned_bytes);
  EXPECT_EQ(before.device_bytes + 4096, stats.device_bytes);
  EXPECT_EQ(before.host_bytes + 1024, stats.host_bytes);
  buffer.reset();
  pageable.reset();
  device.drain();
  stats = device.stats();
  EXPECT_EQ(before.pinned_bytes, stats.pinned_bytes);
  EXPECT_EQ(before.device_bytes, stats.device_bytes);
  EXPECT_EQ(before.host_bytes, stats.host_bytes);
  EXPECT_EQ(0u, stats.deferred_objects);
}

TEST_F(DeviceTest, CountsCopies) {
  auto buffer = gpubuf::buffer::create<float>(device, {16});
  const auto before = device.stats();
  buffer.to_device(stream);
  buffer.to_host(stream, 0, 4);
  stream.synchronize();
  const auto stats = device.stats();
  EXPECT_EQ(before.copies + 2, stats.copies);
  EXPECT_EQ(before.copied_bytes + 80, stats.copied_bytes);
}

TEST_F(DeviceTest, MemoryInUseIsFreedLaterAndNeverWaitedFor) {
  auto buffer = gpubuf::buffer::create<float>(device, {1024});
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream);
  buffer.reset();  // The copy still reads it.
  EXPECT_EQ(0u, device.maintain());
  EXPECT_GE(device.stats().deferred_bytes, 8192u);
  EXPECT_GE(device.stats().deferred_objects, 1u);
  EXPECT_STATUS(status::busy, device.drain<no_throw>(no_wait));
  shut.release();
  device.drain();
  EXPECT_EQ(0u, device.stats().deferred_bytes);
}

TEST_F(DeviceTest, MaintainTellsWhatItFreed) {
  auto buffer = gpubuf::buffer::create<float>(device, {1024});
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream);
  buffer.reset();
  shut.release();
  stream.synchronize();
  EXPECT_EQ(8192u, device.maintain());
  EXPECT_EQ(0u, device.maintain());
}

TEST_F(DeviceTest, SynchronizeCoversEveryStream) {
  const auto second = gpubuf::stream::create(device);
  EXPECT_OK(device.synchronize<no_throw>(no_wait));
  auto shut = gpubuf::host::hold(second);
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  buffer.to_device(second);
  EXPECT_STATUS(status::busy, device.synchronize<no_throw>(no_wait));
  EXPECT_STATUS(status::would_deadlock, device.synchronize<no_throw>()) << "this thread holds the stream shut";
  shut.release();
  EXPECT_OK(device.synchronize<no_throw>());
}

TEST_F(DeviceTest, AWaitForAnotherThreadsStreamTimesOut) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  gpubuf::host::held shut;
  std::thread([&] { shut = gpubuf::host::hold(stream); }).join();
  buffer.to_device(stream);
  EXPECT_STATUS(status::timeout, stream.synchronize<no_throw>(std::chrono::milliseconds(1)));
  EXPECT_STATUS(status::timeout, buffer.begin_write<float, no_throw>(std::chrono::milliseconds(1)));
  EXPECT_GE(device.stats().timeouts, 1u);
  shut.release();
  EXPECT_OK(stream.synchronize<no_throw>());
}

TEST(Device, HasADefaultTimeout) {
  gpubuf::device_options options;
  options.backend = static_cast<std::uint32_t>(test::backend());
  options.default_timeout_ns = 1000000;
  const auto device = gpubuf::device::open(options);
  const auto stream = gpubuf::stream::create(device);
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  gpubuf::host::held shut;
  std::thread([&] { shut = gpubuf::host::hold(stream); }).join();
  buffer.to_device(stream);
  EXPECT_STATUS(status::timeout, buffer.begin_write<float, no_throw>());
}

TEST(Device, HasALabel) {
  gpubuf::device_options options;
  options.backend = static_cast<std::uint32_t>(test::backend());
  std::string name = "front";
  options.label = name.c_str();
  const auto device = gpubuf::device::open(options);
  name = "xxxxx";  // The text was copied.
  EXPECT_NE(std::string::npos, gpubuf::describe(device).find("front")) << gpubuf::describe(device);
}

TEST(Device, ManyMayBeOpen) {
  const auto first = gpubuf::device::open(test::backend());
  const auto second = gpubuf::device::open(test::backend());
  const auto on_first = gpubuf::stream::create(first);
  auto buffer = gpubuf::buffer::create<float>(second, {4});
  auto shut = gpubuf::host::hold(on_first);
  gpubuf::host::delay(on_first, std::chrono::nanoseconds(1));
  if (test::backend() == gpubuf::backend::host) {
    EXPECT_OK(second.synchronize<no_throw>()) << "the other device's stream is no concern of this one";
  } else {
    EXPECT_STATUS(status::timeout, second.synchronize<no_throw>(std::chrono::milliseconds(1))) << "both are one context of the driver's";
  }
}
