// A device: opening one, what it counts, how it is waited for, and how memory leaves it.
#include "support.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
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

TEST_F(DeviceTest, CountsThePeakAndAllThatEverWas) {
  const auto before = device.stats();
  for (int i = 0; i < 3; ++i) {
    auto buffer = gpubuf::buffer::create<float>(device, {1024});
    buffer.reset();
    device.drain();
  }
  const auto stats = device.stats();
  EXPECT_EQ(before.pinned_bytes, stats.pinned_bytes);
  EXPECT_EQ(before.pinned_bytes + 4096, stats.pinned_peak_bytes) << "one at a time";
  EXPECT_EQ(before.pinned_total_bytes + 3 * 4096, stats.pinned_total_bytes);
  EXPECT_EQ(before.device_total_bytes + 3 * 4096, stats.device_total_bytes);
  EXPECT_EQ(before.host_total_bytes, stats.host_total_bytes);
}

TEST_F(DeviceTest, CountsWhatTheDriversAllocatorDid) {
  const auto before = device.stats();
  auto buffer = gpubuf::buffer::create<float>(device, {1024});
  const auto pageable = gpubuf::buffer::create<float>(device, {256}, gpubuf::placement::pageable, gpubuf::placement::none);
  auto stats = device.stats();
  EXPECT_EQ(before.allocations + 2, stats.allocations) << "a pinned side and a device side; the driver has no part in pageable memory";
  EXPECT_GT(stats.allocation_ns, before.allocation_ns);
  buffer.reset();
  device.drain();
  stats = device.stats();
  EXPECT_EQ(before.frees + 2, stats.frees);
  EXPECT_GT(stats.free_ns, before.free_ns);
  EXPECT_EQ(before.allocation_failures, stats.allocation_failures);
  EXPECT_STATUS(status::out_of_device_memory, gpubuf::buffer::create<float, no_throw>(device, {std::uint64_t{1} << 38}, gpubuf::placement::none));
  EXPECT_GT(device.stats().allocation_failures, before.allocation_failures);
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

// ---- Which device -------------------------------------------------------------------------------------------------

/// The backend under test, as names begin with it.
std::string prefix() { return test::backend() == gpubuf::backend::cuda ? "cuda" : "host"; }

TEST(Device, IsOpenedByName) {
  for (const std::string& name : {prefix(), prefix() + ":0", prefix() + ":auto"}) {
    const auto device = gpubuf::device::open(name.c_str());
    EXPECT_EQ(test::backend(), device.backend()) << name;
  }
  EXPECT_OK(gpubuf::device::open<no_throw>("auto"));
}

TEST(Device, ANameThatIsNoneSaysWhatIs) {
  for (const char* name : {"", "gpu", "tpu:0", "cuda:one", "GPU-"}) {
    EXPECT_STATUS(status::invalid_argument, gpubuf::device::open<no_throw>(name));
    EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("cuda:1")) << gpubuf::last_error_message();
  }
  EXPECT_STATUS(status::not_found, gpubuf::device::open<no_throw>((prefix() + ":99").c_str()));
  gpubuf::device_options both;
  both.name = "host:0";
  both.ordinal = 1;
  EXPECT_STATUS(status::invalid_argument, gpubuf::device::open<no_throw>(both));
}

TEST(Device, AreListedWithoutBeingOpened) {
  const std::uint32_t count = gpubuf::device::count(test::backend());
  ASSERT_GE(count, 1u);
  for (std::uint32_t ordinal = 0; ordinal < count; ++ordinal) {
    const auto summary = gpubuf::device::summary(test::backend(), ordinal);
    EXPECT_EQ(static_cast<std::uint32_t>(test::backend()), summary.backend);
    EXPECT_EQ(ordinal, summary.ordinal);
    EXPECT_GT(std::strlen(summary.name), 0u);
    EXPECT_GT(summary.memory_bytes, 0u);
    EXPECT_LT(summary.memory_bytes, std::uint64_t{GPUBUF_UNKNOWN});
    EXPECT_EQ(gpubuf::device::open(test::backend(), ordinal).name(), summary.name);
  }
  EXPECT_STATUS(status::not_found, gpubuf::device::summary<no_throw>(test::backend(), count));
}

TEST(Device, IsFoundByItsUuidAndItsPlaceOnTheBus) {
  if (test::backend() == gpubuf::backend::host) GTEST_SKIP() << "emulated devices have neither";
  const std::uint32_t count = gpubuf::device::count(test::backend());
  const auto summary = gpubuf::device::summary(test::backend(), count - 1);
  ASSERT_EQ(1u, summary.has_uuid);
  std::string uuid = "GPU-";
  for (int i = 0; i < 16; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(summary.uuid[i]));
    if (i == 4 || i == 6 || i == 8 || i == 10) uuid += '-';
    uuid += digits;
  }
  EXPECT_EQ(summary.name, gpubuf::device::open(uuid.c_str()).name());
  EXPECT_EQ(summary.name, gpubuf::device::open(summary.bus_id).name());
  EXPECT_STATUS(status::not_found, gpubuf::device::open<no_throw>("GPU-00000000"));
  if (count > 1 && summary.simulation != 0) {  // They differ in the last digits alone.
    EXPECT_STATUS(status::invalid_argument, gpubuf::device::open<no_throw>(uuid.substr(0, 6).c_str())) << "more than one";
  }
}

TEST(Device, MayBeTheOneWithTheMostFreeMemory) {
  const auto device = gpubuf::device::open(test::backend(), gpubuf::most_free_memory);
  EXPECT_GT(device.why_backend().size(), 10u);
  if (gpubuf::device::count(test::backend()) < 2) return;
  // The simulation lets us take memory away from the first.
  const auto first = gpubuf::device::open(test::backend(), 0);
  if (first.info().simulation == 0) GTEST_SKIP() << "not with a GPU that others may use";
  gpubuf::host::limit_memory(first, gpubuf::placement::device, 1 << 20);
  const auto other = gpubuf::device::open(test::backend(), gpubuf::most_free_memory);
  EXPECT_EQ(gpubuf::device::summary(test::backend(), 1).name, other.name()) << other.why_backend();
  EXPECT_NE(std::string::npos, other.why_backend().find("most free memory")) << other.why_backend();
}

// ---- What it can do -----------------------------------------------------------------------------------------------

TEST_F(DeviceTest, TellsWhatItCanDoByTryingIt) {
  EXPECT_ERROR(status::not_begun, device.why(gpubuf::capability::pinned_memory));
  const auto shut = gpubuf::host::hold(stream);  // A probe has a stream of its own.
  const auto found = device.probe();
  EXPECT_EQ(gpubuf::answer::yes, found[gpubuf::capability::pinned_memory]) << device.why(gpubuf::capability::pinned_memory);
  EXPECT_EQ(gpubuf::answer::yes, found[gpubuf::capability::registered_memory]);
  EXPECT_EQ(gpubuf::answer::yes, found[gpubuf::capability::sees_host_writes]);
  const auto info = device.info();
  EXPECT_EQ(info.can_manage != 0, found[gpubuf::capability::managed_memory] == gpubuf::answer::yes);
  EXPECT_EQ(info.has_memory_pools != 0, found[gpubuf::capability::memory_pools] == gpubuf::answer::yes);
  EXPECT_EQ(info.numa_node, found.device_numa_node);
  EXPECT_GE(found.page_bytes, 4096u);
  EXPECT_GT(found.host_total_bytes, 0u);
  EXPECT_LE(found.host_available_bytes, found.host_total_bytes);
  EXPECT_LE(found.device_free_bytes, found.device_total_bytes);
  EXPECT_LE(found.cgroup_room_bytes, found.cgroup_limit_bytes);
  for (std::uint32_t number = 1; number <= 8; ++number) {
    EXPECT_FALSE(device.why(static_cast<gpubuf::capability>(number)).empty()) << number;
  }
  EXPECT_ERROR(status::invalid_argument, device.why(static_cast<gpubuf::capability>(9)));
}

TEST_F(DeviceTest, AProbeGivesBackWhatItTookAndCountsAsNoUse) {
  const auto before = device.stats();
  const std::uint64_t free_before = device.probe().device_free_bytes;
  const auto after = device.stats();
  EXPECT_EQ(before.pinned_bytes, after.pinned_bytes);
  EXPECT_EQ(before.device_bytes, after.device_bytes);
  EXPECT_EQ(before.copies, after.copies);
  device.drain();
  // Of a GPU others may take memory meanwhile.
  if (device.info().simulation != 0) {
    EXPECT_EQ(free_before, device.probe().device_free_bytes);
  }
}

TEST_F(DeviceTest, SaysWhyThereIsNoPinnedMemory) {
  if (device.info().simulation == 0) GTEST_SKIP() << "a GPU's memory has no limit to set";
  gpubuf::host::limit_memory(device, gpubuf::placement::pinned, 0);
  const auto found = device.probe();
  EXPECT_EQ(gpubuf::answer::no, found[gpubuf::capability::pinned_memory]);
  const std::string why = device.why(gpubuf::capability::pinned_memory);
  EXPECT_NE(std::string::npos, why.find("RLIMIT_MEMLOCK")) << why;
  EXPECT_EQ(gpubuf::answer::not_tested, found[gpubuf::capability::sees_host_writes]) << "there was nothing to test it with";
  gpubuf::host::limit_memory(device, gpubuf::placement::pinned, std::uint64_t{1} << 30);
  EXPECT_EQ(gpubuf::answer::yes, device.probe()[gpubuf::capability::pinned_memory]);
}

TEST_F(DeviceTest, WhereUvaMemoryIsStaleACopyStandsIn) {
  if (device.info().simulation == 0) GTEST_SKIP() << "a GPU cannot be made to";
  gpubuf::host::set_uva_stale(device, true);
  const auto in_place = [&] {
    return gpubuf::buffer::create<std::int32_t>(device, {4}, gpubuf::placement::uva, gpubuf::placement::none);
  };
  EXPECT_EQ(0u, in_place().info().stands_in) << "nobody has looked yet";
  EXPECT_EQ(gpubuf::answer::no, device.probe()[gpubuf::capability::sees_host_writes]);
  auto buffer = in_place();
  EXPECT_EQ(1u, buffer.info().stands_in);
  EXPECT_EQ(1u, device.stats().fallbacks_uva);
  EXPECT_EQ(1u, gpubuf::pool::create(device, 64, 1, gpubuf::placement::uva).acquire().info().stands_in);
  // publish() copies what is newer, and nothing where memory is used in place: the same program for both.
  for (const std::int32_t first : {10, 20}) {
    buffer.copy_in(test::ramp<std::int32_t>(4, first));
    EXPECT_STATUS(status::conflict, buffer.device_address<no_throw>({stream})) << "the device lacks it";
    const auto address = buffer.publish(stream);
    std::int32_t seen = 0;
    gpubuf::host::call(stream, [&](gpubuf::host::view& view) { view.read(address, &seen, sizeof seen); });
    stream.synchronize();
    EXPECT_EQ(first, seen);
  }
  gpubuf::host::set_uva_stale(device, false);
  EXPECT_EQ(gpubuf::answer::yes, device.probe()[gpubuf::capability::sees_host_writes]);
  EXPECT_EQ(0u, in_place().info().stands_in);
}

TEST_F(DeviceTest, TellsWhatControlGroupsLeave) {
  // A made-up system, below a folder that stands for the root.
  const std::string root = testing::TempDir() + "gpubuf_system_" + std::to_string(::getpid());
  const auto file = [&](const std::string& path, const std::string& text) {
    const std::string whole = root + "/" + path;
    std::filesystem::create_directories(std::filesystem::path(whole).parent_path());
    std::ofstream(whole) << text;
  };
  file("proc/self/cgroup", "0::/pod/engine\n");
  file("sys/fs/cgroup/pod/memory.max", "1000000\n");
  file("sys/fs/cgroup/pod/memory.current", "400000\n");
  file("sys/fs/cgroup/pod/engine/memory.max", "max\n");
  file("proc/self/limits", "Max locked memory         65536                65536                bytes\n");
  file("proc/meminfo", "MemTotal:       2000 kB\nMemAvailable:   1500 kB\n");
  ::setenv("GPUBUF_SYSTEM_ROOT", root.c_str(), 1);
  const auto found = device.probe();
  ::unsetenv("GPUBUF_SYSTEM_ROOT");
  std::filesystem::remove_all(root);
  EXPECT_EQ(1000000u, found.cgroup_limit_bytes);
  EXPECT_EQ(400000u, found.cgroup_used_bytes);
  EXPECT_EQ(600000u, found.cgroup_room_bytes);
  EXPECT_EQ(65536u, found.memlock_limit_bytes);
  EXPECT_EQ(2000u * 1024, found.host_total_bytes);
  EXPECT_EQ(std::uint64_t{GPUBUF_UNKNOWN}, found.huge_page_bytes);
  EXPECT_EQ(gpubuf::answer::not_tested, found[gpubuf::capability::huge_pages]);
}

TEST(Device, MayBeProbedAsItIsOpened) {
  gpubuf::device_options options;
  options.backend = static_cast<std::uint32_t>(test::backend());
  options.probe = 1;
  const auto device = gpubuf::device::open(options);
  EXPECT_FALSE(device.why(gpubuf::capability::pinned_memory).empty());
}

TEST_F(DeviceTest, AProbeNeedsTime) { EXPECT_STATUS(status::invalid_argument, device.probe<no_throw>(no_wait)); }

// ---- Upkeep -------------------------------------------------------------------------------------------------------

TEST(Device, AThreadOfTheLibrarysKeepsItUp) {
  gpubuf::device_options options;
  options.backend = static_cast<std::uint32_t>(test::backend());
  options.upkeep_interval_ns = 1000000;
  const auto device = gpubuf::device::open(options);
  const auto stream = gpubuf::stream::create(device);
  std::vector<float> own(1024);
  std::atomic<bool> released{false};
  auto shut = gpubuf::host::hold(stream);
  {
    auto buffer = gpubuf::borrowed_buffer::over<float>(device, own, [&] { released = true; }, gpubuf::placement::pinned);
    buffer.to_device(stream);
  }  // The copy still reads it, and nobody calls the library again.
  EXPECT_FALSE(released);
  shut.release();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!released && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_TRUE(released) << "the thread gives borrowed memory back";
}

TEST(Device, UpkeepHasAShortestInterval) {
  gpubuf::device_options options;
  options.backend = static_cast<std::uint32_t>(test::backend());
  options.upkeep_interval_ns = 999999;
  EXPECT_STATUS(status::invalid_argument, gpubuf::device::open<no_throw>(options));
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("upkeep_interval_ns"));
}
