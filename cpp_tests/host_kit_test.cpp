// The test kit of the host backend: time and faults on demand.
#include "support.hpp"

#include <atomic>
#include <cstdlib>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::status;
namespace host = gpubuf::host;

class HostKit : public test::Device {
 protected:
  gpubuf::buffer buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
};

TEST_F(HostKit, AHeldStreamRunsNothing) {
  std::atomic<int> ran{0};
  {
    const auto shut = host::hold(stream);
    host::call(stream, [&](host::view&) { ++ran; });
    EXPECT_FALSE(stream.is_idle());
    EXPECT_EQ(0, ran);
  }  // Opened by the end of the scope.
  stream.synchronize();
  EXPECT_EQ(1, ran);
}

TEST_F(HostKit, HoldsAreCounted) {
  auto one = host::hold(stream);
  auto two = host::hold(stream);
  host::delay(stream, std::chrono::nanoseconds(1));
  one.release();
  EXPECT_FALSE(stream.is_idle()) << "the other one is left";
  two.release();
  EXPECT_OK(stream.synchronize<no_throw>());
}

TEST_F(HostKit, AReleaseWithoutAHoldChangesNothing) {
  EXPECT_OK(gpubuf_host_stream_release(stream.capi()));
  const auto shut = host::hold(stream);
  host::delay(stream, std::chrono::nanoseconds(1));
  EXPECT_FALSE(stream.is_idle()) << "it did not count against a later hold";
}

TEST_F(HostKit, AHoldMoves) {
  auto one = host::hold(stream);
  host::held two = std::move(one);
  one.release();  // Holds nothing any more.
  host::delay(stream, std::chrono::nanoseconds(1));
  EXPECT_FALSE(stream.is_idle());
  two = host::held();
  EXPECT_OK(stream.synchronize<no_throw>());
}

TEST_F(HostKit, ADelayTakesItsTime) {
  const auto start = std::chrono::steady_clock::now();
  host::delay(stream, std::chrono::milliseconds(5));
  stream.synchronize();
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(5));
}

TEST_F(HostKit, AFunctionReadsAndWritesDeviceMemory) {
  buffer.copy_in(test::ramp<std::int32_t>(4, 1));
  buffer.to_device(stream);
  const auto at = buffer.device_address(stream);
  host::call(stream, [at](host::view& memory) {
    std::int32_t values[4];
    memory.read(at, values, sizeof values);
    for (std::int32_t& value : values) value = -value;
    memory.write(at + 8, values, 8);
  });
  buffer.to_host(stream);
  EXPECT_EQ((std::vector<std::int32_t>{1, 2, -1, -2}), test::copy_of(buffer.begin_read<std::int32_t>()));
}

TEST_F(HostKit, AFunctionSeesOnlyMemoryThatIsThere) {
  const auto at = buffer.device_address(stream);
  status beyond = status::ok, nowhere = status::ok;
  host::call(stream, [&](host::view& memory) {
    char byte = 0;
    beyond = memory.read<no_throw>(at + 16 + (1 << 20), &byte, 1);
    nowhere = memory.write<no_throw>(8, &byte, 1);
  });
  stream.synchronize();
  EXPECT_STATUS(status::invalid_argument, beyond);
  EXPECT_STATUS(status::invalid_argument, nowhere);
}

TEST_F(HostKit, ALinkHasLatencyAndBandwidth) {
  host::set_link(device, std::chrono::milliseconds(5), 0);
  const auto start = std::chrono::steady_clock::now();
  buffer.to_device_blocking(stream);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(5));
  host::set_link(device, std::chrono::nanoseconds(0), 0);
}

TEST_F(HostKit, OperationsAreDelayedFromASeed) {
  host::set_delay(device, std::chrono::microseconds(10), 42, std::chrono::microseconds(20));
  for (int i = 0; i < 10; ++i) {
    buffer.fill_host(i);
    buffer.to_device(stream);
  }
  buffer.to_host(stream);
  EXPECT_EQ(9, buffer.begin_read<std::int32_t>()[0]);
  host::set_delay(device, std::chrono::nanoseconds(0));
}

TEST_F(HostKit, TheNthOperationFails) {
  host::fail_operation(device, host::operation::copy, 2, host::when::at_submission);
  EXPECT_OK(buffer.to_device<no_throw>(stream));
  EXPECT_FALSE(status::ok == buffer.to_device<no_throw>(stream));
  EXPECT_OK(buffer.to_device<no_throw>(stream)) << "that one only";
}

TEST_F(HostKit, OperationsAreCountedAndWhatMakesSomethingFailsToo) {
  if (test::backend() != gpubuf::backend::host) {
    EXPECT_STATUS(status::unsupported, host::count_operations<no_throw>(device, host::operation::copy));
    EXPECT_STATUS(status::unsupported,
                  host::fail_operation<no_throw>(device, host::operation::event, 1, host::when::at_submission));
    return;
  }
  const auto copies = host::count_operations(device, host::operation::copy);
  buffer.to_device(stream);
  host::fail_operation(device, host::operation::copy, 1, host::when::at_submission);
  EXPECT_FALSE(status::ok == buffer.to_device<no_throw>(stream));
  EXPECT_EQ(copies + 2, host::count_operations(device, host::operation::copy)) << "the refused one counts";
  for (const auto kind : {host::operation::stream, host::operation::event}) {
    host::fail_operation(device, kind, 1, host::when::at_submission);
    EXPECT_STATUS(status::out_of_host_memory, gpubuf::stream::create<no_throw>(device));
    EXPECT_OK(gpubuf::stream::create<no_throw>(device));
  }
  host::fail_operation(device, host::operation::allocation, 2, host::when::at_submission);
  EXPECT_STATUS(status::out_of_device_memory, gpubuf::buffer::create<float, no_throw>(device, {4})) << "the device side";
  EXPECT_EQ(0u, device.stats().quarantined_bytes);
  host::fail_operation(device, host::operation::record, 1, host::when::at_loss);
  EXPECT_FALSE(status::ok == buffer.to_device<no_throw>(stream));
  EXPECT_STATUS(status::device_lost, stream.synchronize<no_throw>());
}

TEST_F(HostKit, AFailureIsToldOnceByTheStreamAndOnceByADrain) {
  if (!test::copies_fail_alone()) GTEST_SKIP() << "with this driver a copy that fails takes the device with it";
  host::fail_operation(device, host::operation::copy, 1, host::when::at_execution);
  buffer.to_device(stream);
  EXPECT_STATUS(status::copy_failed, stream.synchronize<no_throw>());
  EXPECT_OK(stream.synchronize<no_throw>());
  EXPECT_STATUS(status::copy_failed, device.drain<no_throw>());
  EXPECT_OK(device.drain<no_throw>());
}

TEST_F(HostKit, MemoryIsLimited) {
  host::limit_memory(device, gpubuf::placement::pinned, 64 << 10);
  EXPECT_STATUS(status::out_of_host_memory, gpubuf::pool::create<no_throw>(device, 64 << 10, 4));
  EXPECT_STATUS(status::invalid_argument, host::limit_memory<no_throw>(device, gpubuf::placement::pageable, 1));
}

TEST_F(HostKit, ALostDeviceIsLostForGood) {
  auto shut = host::hold(stream);
  buffer.to_device(stream);
  host::lose_device(device);
  shut.release();
  EXPECT_STATUS(status::device_lost, buffer.to_device<no_throw>(stream));
  EXPECT_STATUS(status::device_lost, stream.synchronize<no_throw>());
  EXPECT_STATUS(status::device_lost, gpubuf::stream::create<no_throw>(device));
  const auto write = buffer.begin_write<std::int32_t, no_throw>();
  EXPECT_TRUE(write.status() == status::device_lost || write.status() == status::quarantined) << gpubuf::status_name(write.status());
  EXPECT_GT(device.stats().quarantined_bytes, 0u) << "what was in use is never touched again";
}

TEST_F(HostKit, AnEmulatedDeviceSaysThatNoHardwareIsBehindIt) {
  if (test::backend() == gpubuf::backend::host) {
    EXPECT_EQ(1u, device.info().simulation);
  }
}

TEST_F(HostKit, TimeInsideIsThisThreadsAndGrows) {
  if (device.info().simulation == 0) GTEST_SKIP() << "time inside an emulation is there where one is";
  const auto before = host::time_inside();
  for (int i = 0; i < 100; ++i) buffer.to_device(stream);
  stream.synchronize();
  EXPECT_GT(host::time_inside(), before);
}

TEST_F(HostKit, FaultsComeFromTheEnvironmentToo) {
  if (test::backend() != gpubuf::backend::host) GTEST_SKIP() << "the variables are the host backend's";
  ::setenv("GPUBUF_HOST_FAIL_OPERATION", "copy:1:submission", 1);
  ::setenv("GPUBUF_HOST_DEVICE_MEMORY", "1048576", 1);
  auto other = gpubuf::device::open(test::backend());
  ::unsetenv("GPUBUF_HOST_FAIL_OPERATION");
  ::unsetenv("GPUBUF_HOST_DEVICE_MEMORY");
  const auto queue = gpubuf::stream::create(other);
  auto small = gpubuf::buffer::create<std::int32_t>(other, {4});
  EXPECT_FALSE(status::ok == small.to_device<no_throw>(queue));
  EXPECT_OK(small.to_device<no_throw>(queue));
  EXPECT_STATUS(status::out_of_device_memory, gpubuf::buffer::create<std::int32_t, no_throw>(other, {1 << 20}));
}
