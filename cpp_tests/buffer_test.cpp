// The paired buffer: a host side and a device side of one shape. Whatever is still in use is waited for or refused.
#include "support.hpp"

#include <atomic>
#include <thread>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::placement;
using gpubuf::status;

class Buffers : public test::Device {
 protected:
  gpubuf::stream second = gpubuf::stream::create(device);
};

// ---- Elements ---------------------------------------------------------------------------------------------------

template <class T>
class Elements : public Buffers {};
using element_types = testing::Types<bool, std::int8_t, std::int16_t, std::int32_t, std::int64_t, std::uint8_t, std::uint16_t, std::uint32_t,
                                     std::uint64_t, float, double>;
TYPED_TEST_SUITE(Elements, element_types);

TYPED_TEST(Elements, GoToTheDeviceAndBack) {
  auto buffer = gpubuf::buffer::create<TypeParam>(this->device, {4, 5});
  {
    auto values = buffer.template begin_write<TypeParam>();
    ASSERT_EQ(20u, values.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<TypeParam>(i % 2);
  }
  buffer.to_device(this->stream);
  buffer.zero_host();
  buffer.to_host(this->stream);
  const auto values = buffer.template begin_read<TypeParam>();
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(static_cast<TypeParam>(i % 2), values[i]) << i;
}

TYPED_TEST(Elements, AreFilled) {
  auto buffer = gpubuf::buffer::create<TypeParam>(this->device, {33});
  const auto one = static_cast<TypeParam>(1);
  buffer.fill(one, this->stream);
  EXPECT_EQ(one, buffer.template begin_read<TypeParam>()[32]);
  buffer.zero_host();
  buffer.to_host(this->stream);
  const auto values = buffer.template begin_read<TypeParam>();
  for (const TypeParam& value : values.span()) EXPECT_EQ(one, value);
}

TEST_F(Buffers, DtypesWithoutACppTypeAreSeenAsBytes) {
  for (const auto dtype : {gpubuf::dtype::f16, gpubuf::dtype::bf16, gpubuf::dtype::f8_e4m3, gpubuf::dtype::f8_e5m2}) {
    gpubuf::buffer_options options;
    options.dtype = static_cast<std::uint32_t>(dtype);
    gpubuf::extents{8}.put(options);
    auto buffer = gpubuf::buffer::create(device, options);
    const std::size_t bytes = 8 * gpubuf::dtype_size(dtype);
    EXPECT_EQ(bytes, buffer.info().host_bytes);
    const std::vector<std::byte> sent(bytes, std::byte{0x5a});
    buffer.copy_in(sent);
    buffer.to_device(stream);
    buffer.zero_host();
    buffer.to_host(stream);
    std::vector<std::byte> got(bytes);
    buffer.copy_out(got);
    EXPECT_EQ(sent, got);
    EXPECT_EQ(bytes / 2, buffer.begin_read<std::byte>(4, 4).size()) << "ranges are elements, the guard's elements are bytes";
    EXPECT_STATUS(status::invalid_argument, buffer.copy_in<no_throw>(std::vector<float>(8)));
    if (gpubuf::dtype_size(dtype) == 2) {
      EXPECT_STATUS(status::invalid_argument, buffer.copy_in<no_throw>(std::vector<std::byte>(3))) << "half an element";
    }
  }
}

TEST_F(Buffers, AreZeroAtFirst) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {64});
  EXPECT_EQ(std::vector<std::int32_t>(64), test::copy_of(buffer.begin_read<std::int32_t>()));
  buffer.fill_host(std::int32_t{-1});
  buffer.to_host(stream);
  EXPECT_EQ(std::vector<std::int32_t>(64), test::copy_of(buffer.begin_read<std::int32_t>())) << "the device side, too";
}

TEST_F(Buffers, TellWhatTheyAre) {
  const auto info = gpubuf::buffer::create<double>(device, {2, 3, 4}).info();
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_DTYPE_F64), info.dtype);
  EXPECT_EQ(3u, info.rank);
  EXPECT_EQ(4u, info.shape[2]);
  EXPECT_EQ(0u, info.borrowed);
  EXPECT_EQ(24u, info.count);
  EXPECT_EQ(192u, info.host_bytes);
  EXPECT_EQ(192u, info.device_bytes);
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_PLACEMENT_PINNED), info.host_placement);
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_PLACEMENT_DEVICE), info.device_placement);
}

TEST_F(Buffers, AnotherElementTypeIsRefused) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  EXPECT_STATUS(status::invalid_argument, buffer.begin_write<double, no_throw>());
  EXPECT_STATUS(status::invalid_argument, buffer.begin_read<std::int32_t, no_throw>());
  EXPECT_STATUS(status::invalid_argument, buffer.fill_host<no_throw>(1.0));
  EXPECT_ERROR(status::invalid_argument, buffer.begin_write<std::uint32_t>());
  EXPECT_OK(buffer.begin_write<float, no_throw>(no_wait)) << "nothing was left open";
}

// ---- Ranges -----------------------------------------------------------------------------------------------------

TEST_F(Buffers, RangesAreElements) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {8});
  buffer.copy_in(test::ramp<std::int32_t>(8));
  buffer.to_device(stream, 2, 3);
  buffer.fill_host(std::int32_t{-1});
  buffer.to_host(stream);
  EXPECT_EQ((std::vector<std::int32_t>{0, 0, 2, 3, 4, 0, 0, 0}), test::copy_of(buffer.begin_read<std::int32_t>()));
  EXPECT_EQ((std::vector<std::int32_t>{3, 4}), test::copy_of(buffer.begin_read<std::int32_t>(3, 2)));
  EXPECT_EQ(5u, buffer.begin_read<std::int32_t>(3, gpubuf::all).size()) << "all: from there on";
  std::vector<std::int32_t> two(2);
  buffer.copy_out(two, 2);
  EXPECT_EQ((std::vector<std::int32_t>{2, 3}), two);
}

TEST_F(Buffers, RangesOutsideAreRefused) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {8});
  EXPECT_STATUS(status::invalid_argument, buffer.begin_write<std::int32_t, no_throw>(8, 1));
  EXPECT_STATUS(status::invalid_argument, buffer.begin_write<std::int32_t, no_throw>(9, gpubuf::all));
  EXPECT_STATUS(status::invalid_argument, buffer.to_device<no_throw>(stream, 0, 9));
  EXPECT_STATUS(status::invalid_argument, buffer.to_host<no_throw>(stream, UINT64_MAX, 2));
  EXPECT_STATUS(status::invalid_argument, buffer.to_host<no_throw>(stream, 2, UINT64_MAX - 1));
  EXPECT_STATUS(status::invalid_argument, buffer.copy_in<no_throw>(std::vector<std::int32_t>(9)));
  EXPECT_TRUE(stream.is_idle()) << "nothing was queued";
}

TEST_F(Buffers, ARangeMayBeEmpty) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {8});
  EXPECT_OK(buffer.to_device<no_throw>(stream, 8, 0));
  EXPECT_OK(buffer.copy_in<no_throw>(std::vector<std::int32_t>{}));
  EXPECT_EQ(0u, buffer.begin_read<std::int32_t>(8, gpubuf::all).size());
}

// ---- Guards -----------------------------------------------------------------------------------------------------

TEST_F(Buffers, AWriteGuardShutsItsRange) {
  auto buffer = gpubuf::buffer::create<float>(device, {8});
  auto low = buffer.begin_write<float>(0, 4);
  EXPECT_STATUS(status::busy, buffer.begin_write<float, no_throw>());
  EXPECT_STATUS(status::busy, buffer.begin_read<float, no_throw>(3, 1));
  EXPECT_STATUS(status::busy, buffer.to_device<no_throw>(stream));
  EXPECT_STATUS(status::busy, buffer.to_host<no_throw>(stream));
  EXPECT_OK(buffer.begin_write<float, no_throw>(4, 4)) << "the other half is free";
  EXPECT_OK(buffer.to_device<no_throw>(stream, 4, 4));
  low.end();
  EXPECT_OK(buffer.to_device<no_throw>(stream));
}

TEST_F(Buffers, ReadersShareAndShutOutWriters) {
  auto buffer = gpubuf::buffer::create<float>(device, {8});
  const auto one = buffer.begin_read<float>();
  const auto two = buffer.begin_read<float>();
  EXPECT_EQ(one.data(), two.data());
  EXPECT_STATUS(status::busy, buffer.begin_write<float, no_throw>());
  EXPECT_STATUS(status::busy, buffer.to_host<no_throw>(stream)) << "the copy would write what they read";
  EXPECT_OK(buffer.to_device<no_throw>(stream)) << "one more reader";
}

TEST_F(Buffers, AGuardThatIsOpenIsBusyWhateverTheTimeout) {
  auto buffer = gpubuf::buffer::create<float>(device, {8});
  const auto guard = buffer.begin_write<float>();
  EXPECT_STATUS(status::busy, buffer.begin_write<float, no_throw>(gpubuf::timeout_infinite)) << "timeouts are for the device";
}

TEST_F(Buffers, AGuardEndsOnceAndWithItsOwnToken) {
  auto buffer = gpubuf::buffer::create<float>(device, {8});
  void* data = nullptr;
  std::uint64_t token = 0;
  ASSERT_OK(gpubuf_buffer_begin_write(buffer.capi(), 0, 8, 0, &data, &token));
  EXPECT_STATUS(GPUBUF_NOT_BEGUN, gpubuf_buffer_end_write(buffer.capi(), token + 1));
  EXPECT_STATUS(GPUBUF_NOT_BEGUN, gpubuf_buffer_end_read(buffer.capi(), token));
  EXPECT_OK(gpubuf_buffer_end_write(buffer.capi(), token));
  EXPECT_STATUS(GPUBUF_NOT_BEGUN, gpubuf_buffer_end_write(buffer.capi(), token));

  auto guard = buffer.begin_write<float>();
  guard.end();
  EXPECT_STATUS(status::not_begun, guard.end<no_throw>());
}

TEST_F(Buffers, AGuardMayEndOnAnotherThread) {
  auto buffer = gpubuf::buffer::create<float>(device, {8});
  auto guard = buffer.begin_write<float>();
  std::thread([moved = std::move(guard)]() mutable { moved.end(); }).join();
  EXPECT_OK(buffer.begin_write<float, no_throw>(no_wait));
}

// ---- Order ------------------------------------------------------------------------------------------------------

TEST_F(Buffers, AWriteWaitsForTheCopyThatReads) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  buffer.fill_host(std::int32_t{1});
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream);
  EXPECT_STATUS(status::busy, buffer.begin_write<std::int32_t, no_throw>(no_wait));
  EXPECT_STATUS(status::busy, buffer.copy_in<no_throw>(test::ramp<std::int32_t>(4), 0, no_wait));
  EXPECT_STATUS(status::busy, buffer.fill_host<no_throw>(std::int32_t{2}, no_wait));
  EXPECT_STATUS(status::would_deadlock, buffer.begin_write<std::int32_t, no_throw>()) << "this thread holds the stream";
  EXPECT_OK(buffer.begin_read<std::int32_t, no_throw>(no_wait)) << "reading what a copy reads is fine";
  shut.release();
  buffer.fill_host(std::int32_t{2});  // Waits.
  buffer.to_host(stream);
  EXPECT_EQ(std::vector<std::int32_t>(4, 1), test::copy_of(buffer.begin_read<std::int32_t>())) << "the copy took what was there when it was queued";
}

TEST_F(Buffers, AReadWaitsForTheCopyThatWrites) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  auto shut = gpubuf::host::hold(stream);
  buffer.fill(std::int32_t{3}, stream, gpubuf::side::device);
  buffer.to_host(stream);
  EXPECT_STATUS(status::busy, buffer.begin_read<std::int32_t, no_throw>(no_wait));
  EXPECT_STATUS(status::busy, buffer.begin_write<std::int32_t, no_throw>(no_wait));
  shut.release();
  EXPECT_EQ(std::vector<std::int32_t>(4, 3), test::copy_of(buffer.begin_read<std::int32_t>()));
}

TEST_F(Buffers, OnlyTheRangeInUseIsWaitedFor) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {8});
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream, 0, 4);
  EXPECT_STATUS(status::busy, buffer.begin_write<std::int32_t, no_throw>(3, 1, no_wait));
  EXPECT_OK(buffer.begin_write<std::int32_t, no_throw>(4, 4, no_wait));
}

TEST_F(Buffers, CopiesOnTwoStreamsAreOrderedOnTheDevice) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  buffer.copy_in(test::ramp<std::int32_t>(4, 10));
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream);
  buffer.to_host(second);  // Must not overtake.
  EXPECT_FALSE(second.is_idle());
  shut.release();
  EXPECT_EQ(test::ramp<std::int32_t>(4, 10), test::copy_of(buffer.begin_read<std::int32_t>()));
  EXPECT_GE(device.stats().device_waits, 1u);
}

TEST_F(Buffers, BlockingCopiesReturnWhenTheBytesAreThere) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  buffer.copy_in(test::ramp<std::int32_t>(4, 1));
  buffer.to_device_blocking(stream);
  buffer.zero_host(no_wait);
  buffer.to_host_blocking(stream);
  EXPECT_EQ(test::ramp<std::int32_t>(4, 1), test::copy_of(buffer.begin_read<std::int32_t>(no_wait)));
}

TEST_F(Buffers, ABlockingCopyThatTimesOutStaysQueued) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  buffer.copy_in(test::ramp<std::int32_t>(4, 1));
  gpubuf::host::held shut;
  std::thread([&] { shut = gpubuf::host::hold(stream); }).join();
  EXPECT_STATUS(status::timeout, buffer.to_device_blocking<no_throw>(stream, std::chrono::milliseconds(1)));
  EXPECT_STATUS(status::busy, buffer.begin_write<std::int32_t, no_throw>(no_wait)) << "with its uses";
  shut.release();
  buffer.zero_host();
  buffer.to_host(stream);
  EXPECT_EQ(test::ramp<std::int32_t>(4, 1), test::copy_of(buffer.begin_read<std::int32_t>()));
}

TEST_F(Buffers, ASecondThreadInsideIsToldSo) {
  // One call at a time: a thread that waits inside keeps others out, at once and whatever their timeout.
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream);
  const auto write = [&] { return buffer.begin_write<float, no_throw>(gpubuf::timeout_infinite).status(); };
  std::thread waiter([&] {
    status answer = write();
    while (answer == status::busy) answer = write();  // It met the other thread in the door.
    EXPECT_STATUS(status::ok, answer);
  });
  while (write() != status::busy) std::this_thread::yield();  // would_deadlock: nobody is inside yet.
  shut.release();
  waiter.join();
}

TEST_F(Buffers, AGuardThatEndsWhileAnotherThreadIsInsideIsNotLeftOpen) {
  auto buffer = gpubuf::buffer::create<float>(device, {8});
  auto ended = buffer.begin_read<float>(4, 4), destroyed = buffer.begin_read<float>(4, 4);
  auto shut = gpubuf::host::hold(stream);
  buffer.to_host(stream, 0, 4);
  std::thread waiter([&] {
    while (buffer.begin_read<float, no_throw>(0, 4, gpubuf::timeout_infinite).status() == status::busy) {
    }
  });
  while (buffer.stats<no_throw>().status() != status::busy) std::this_thread::yield();
  EXPECT_STATUS(status::busy, ended.end<no_throw>());
  EXPECT_TRUE(ended) << "it can be ended once more";
  std::atomic<bool> ending{false};
  std::thread destroys([&, last = std::move(destroyed)]() mutable {
    ending = true;
    last = {};
  });
  while (!ending) std::this_thread::yield();
  shut.release();
  waiter.join();
  destroys.join();
  ended.end();
  EXPECT_OK(buffer.begin_write<float, no_throw>(no_wait)) << "no access is left open";
}

// ---- Addresses --------------------------------------------------------------------------------------------------

TEST_F(Buffers, TheDeviceAddressStaysTheSame) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  const gpubuf::address at = buffer.device_address(stream);
  EXPECT_NE(0u, at);
  EXPECT_EQ(at, buffer.device_address({stream, second}));
}

TEST_F(Buffers, WorkThatUsesTheAddressIsOrderedOnceItsStreamIsNamed) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  const gpubuf::address at = buffer.device_address(second);
  auto shut = gpubuf::host::hold(second);
  std::vector<std::int32_t> seen(4);
  gpubuf::host::call(second, [&, at](gpubuf::host::view& memory) { memory.read(at, seen.data(), 16); });
  buffer.fill_host(std::int32_t{9});
  buffer.to_device(stream);  // Would overwrite what the function is about to read.
  EXPECT_FALSE(stream.is_idle());
  shut.release();
  device.synchronize();
  EXPECT_EQ(std::vector<std::int32_t>(4, 0), seen);
}

TEST_F(Buffers, UnseenWorkIsDeclaredAfterIt) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  const gpubuf::address at = buffer.device_address(gpubuf::unnamed);
  auto shut = gpubuf::host::hold(second);
  gpubuf::host::call(second, [at](gpubuf::host::view& memory) {
    const std::int32_t values[] = {5, 6, 7, 8};
    memory.write(at, values, sizeof values);
  });
  buffer.used_on(second, gpubuf::access::write);
  buffer.to_host(stream);
  EXPECT_STATUS(status::busy, buffer.begin_read<std::int32_t, no_throw>(no_wait));
  shut.release();
  EXPECT_EQ(test::ramp<std::int32_t>(4, 5), test::copy_of(buffer.begin_read<std::int32_t>()));
}

TEST_F(Buffers, AnAddressForNobodyInParticularSeals) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  static_cast<void>(buffer.device_address(gpubuf::unnamed));
  EXPECT_STATUS(status::unfenced, buffer.to_device<no_throw>(stream));
  EXPECT_STATUS(status::unfenced, buffer.to_host<no_throw>(stream));
  EXPECT_OK(buffer.begin_write<std::int32_t, no_throw>()) << "the host side is nobody's business";
  buffer.used_on(second, gpubuf::access::write);
  EXPECT_OK(buffer.to_device<no_throw>(stream));
}

TEST_F(Buffers, HostMemoryThatKernelsUseInPlaceIsSealedByItsAddress) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4}, placement::uva, placement::none);
  buffer.copy_in(test::ramp<std::int32_t>(4));
  const gpubuf::address at = buffer.device_address(gpubuf::unnamed);
  EXPECT_STATUS(status::unfenced, buffer.begin_write<std::int32_t, no_throw>());
  EXPECT_ERROR(status::unfenced, buffer.copy_in(test::ramp<std::int32_t>(4)));
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::call(stream, [at](gpubuf::host::view& memory) {
    std::int32_t values[4];
    memory.read(at, values, sizeof values);
  });
  buffer.used_on(stream, gpubuf::access::read);
  EXPECT_STATUS(status::busy, buffer.begin_write<std::int32_t, no_throw>(no_wait)) << "declared: now it is a question of time";
  shut.release();
  EXPECT_OK(buffer.begin_write<std::int32_t, no_throw>());
}

TEST_F(Buffers, MemoryWhoseUsersNobodyNamedIsFreedByADrainOnly) {
  auto buffer = gpubuf::buffer::create<float>(device, {1024});
  static_cast<void>(buffer.device_address(gpubuf::unnamed));
  buffer.reset();
  EXPECT_GE(device.stats().sealed_at_destroy, 1u);
  device.maintain();
  EXPECT_EQ(4096u, device.stats().deferred_bytes) << "the device side; the pinned one was given to nobody";
  device.drain();
  EXPECT_EQ(0u, device.stats().deferred_bytes);
}

TEST_F(Buffers, HostPtrIsNoAccess) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream);
  const void* at = buffer.host_ptr();  // Waits for nothing.
  const auto whole = buffer.begin_read<float>();
  EXPECT_EQ(at, whole.data());
  const auto part = buffer.begin_read<float>(2, 2);
  EXPECT_EQ(static_cast<const float*>(at) + 2, part.data());
}

TEST_F(Buffers, TheUnfencedPointerIsCountedAndShown) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  EXPECT_EQ(std::string::npos, gpubuf::describe(buffer).find("unchecked"));
  const auto before = device.stats().unfenced_pointers;
  EXPECT_EQ(buffer.host_ptr(), buffer.host_ptr_unfenced());
  EXPECT_EQ(before + 1, device.stats().unfenced_pointers);
  EXPECT_NE(std::string::npos, gpubuf::describe(buffer).find("unchecked"));
}

// ---- Sides ------------------------------------------------------------------------------------------------------

TEST_F(Buffers, ABufferMayHaveOneSide) {
  auto host = gpubuf::buffer::create<float>(device, {4}, placement::pinned, placement::none);
  EXPECT_OK(host.begin_write<float, no_throw>());
  EXPECT_STATUS(status::unsupported, host.to_device<no_throw>(stream));
  EXPECT_STATUS(status::unsupported, host.fill<no_throw>(1.0f, stream));
  auto on_device = gpubuf::buffer::create<float>(device, {4}, placement::none, placement::device);
  EXPECT_STATUS(status::unsupported, on_device.begin_write<float, no_throw>());
  EXPECT_STATUS(status::unsupported, on_device.host_ptr<no_throw>());
  EXPECT_OK(on_device.fill<no_throw>(1.0f, stream, gpubuf::side::device));
  EXPECT_STATUS(status::invalid_argument, gpubuf::buffer::create<float, no_throw>(device, {4}, placement::none, placement::none));
}

TEST_F(Buffers, PageableMemoryIsFencedLikePinned) {
  for (const bool late : {false, true}) {
    gpubuf::host::set_pageable_late(device, late);
    auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4}, placement::pageable);
    buffer.fill_host(std::int32_t{1});
    auto shut = gpubuf::host::hold(stream);
    buffer.to_device(stream);
    EXPECT_STATUS(status::busy, buffer.begin_write<std::int32_t, no_throw>(no_wait));
    shut.release();
    buffer.zero_host();
    buffer.to_host(stream);
    EXPECT_EQ(std::vector<std::int32_t>(4, 1), test::copy_of(buffer.begin_read<std::int32_t>()));
  }
}

TEST_F(Buffers, ADeviceFillNeedsAStream) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  const float one = 1;
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_fill(buffer.capi(), GPUBUF_SIDE_DEVICE, &one, nullptr, 0));
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_buffer_fill(buffer.capi(), GPUBUF_SIDE_BOTH, &one, nullptr, 0));
  EXPECT_EQ(0.0f, buffer.begin_read<float>()[0]) << "refused as a whole";
}

// ---- Borrowed memory --------------------------------------------------------------------------------------------

class Borrowed : public Buffers {
 protected:
  std::vector<std::int32_t> memory = test::ramp<std::int32_t>(8);
  std::atomic<int> released{0};
  gpubuf::borrowed_buffer borrow() {
    return gpubuf::borrowed_buffer::over<std::int32_t>(device, memory, [this] { ++released; });
  }
};

TEST_F(Borrowed, MemoryIsUsedInPlace) {
  auto buffer = borrow();
  EXPECT_EQ(1u, buffer.info().borrowed);
  EXPECT_EQ(memory.data(), buffer.host_ptr());
  buffer.to_device(stream);
  buffer.zero_host();
  EXPECT_EQ(0, memory[7]);
  buffer.to_host(stream);
  EXPECT_EQ(test::ramp<std::int32_t>(8), test::copy_of(buffer.begin_read<std::int32_t>()));
}

TEST_F(Borrowed, ReleaseIsToldOnceAfterTheLastUse) {
  auto buffer = borrow();
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream);
  buffer.reset();
  device.maintain();
  EXPECT_EQ(0, released) << "the copy still reads it";
  shut.release();
  device.drain();
  EXPECT_EQ(1, released);
  device.drain();
  EXPECT_EQ(1, released);
}

TEST_F(Borrowed, DetachGivesTheMemoryBackAndTellsNobody) {
  auto buffer = borrow();
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream);
  EXPECT_STATUS(status::busy, buffer.detach<no_throw>(no_wait));
  shut.release();
  buffer.detach();
  memory[0] = 77;  // Ours again.
  EXPECT_STATUS(status::not_held, buffer.begin_write<std::int32_t, no_throw>());
  EXPECT_STATUS(status::not_held, buffer.to_device<no_throw>(stream));
  buffer.reset();
  device.drain();
  EXPECT_EQ(0, released);
}

TEST_F(Borrowed, AnOpenGuardForbidsDetach) {
  auto buffer = borrow();
  auto guard = buffer.begin_write<std::int32_t>();
  EXPECT_STATUS(status::busy, buffer.detach<no_throw>());
  guard.end();
  EXPECT_OK(buffer.detach<no_throw>());
}

TEST_F(Borrowed, OwnMemoryIsNotDetached) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  EXPECT_STATUS(GPUBUF_UNSUPPORTED, gpubuf_buffer_detach(buffer.capi(), 0));
}

TEST_F(Borrowed, TwoWrappersOfTheSameMemoryAreRefused) {
  auto buffer = borrow();
  EXPECT_STATUS(status::exists, gpubuf::borrowed_buffer::over<std::int32_t, no_throw>(device, gpubuf::span<std::int32_t>(memory.data() + 7, 1)));
  EXPECT_EQ(0, released);
  buffer.detach();
  EXPECT_OK(gpubuf::borrowed_buffer::over<std::int32_t, no_throw>(device, gpubuf::span<std::int32_t>(memory.data() + 7, 1)));
}

TEST_F(Borrowed, ARefusedCreateTellsNobody) {
  gpubuf::buffer_options options;
  options.dtype = GPUBUF_DTYPE_I32;
  gpubuf::extents{8}.put(options);
  options.host_memory = memory.data();
  options.host_placement = GPUBUF_PLACEMENT_NONE;
  EXPECT_STATUS(status::invalid_argument, gpubuf::borrowed_buffer::create<no_throw>(device, options, [this] { ++released; }));
  device.drain();
  EXPECT_EQ(0, released);
}

// ---- Failure ----------------------------------------------------------------------------------------------------

TEST_F(Buffers, ACopyThatFailsIsToldByTheNextOperationOnce) {
  if (!test::copies_fail_alone()) GTEST_SKIP() << "with this driver a copy that fails takes the device with it";
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  auto unrelated = gpubuf::buffer::create<std::int32_t>(device, {4});
  gpubuf::host::fail_operation(device, gpubuf::host::operation::copy, 1, gpubuf::host::when::at_execution);
  buffer.to_host(stream);
  EXPECT_STATUS(status::copy_failed, buffer.begin_read<std::int32_t, no_throw>());
  EXPECT_OK(buffer.begin_read<std::int32_t, no_throw>());
  EXPECT_OK(unrelated.begin_read<std::int32_t, no_throw>());
  EXPECT_EQ(1u, device.stats().copy_failures);
}

TEST_F(Buffers, ACopyRefusedAtSubmissionChangesNothing) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  gpubuf::host::fail_operation(device, gpubuf::host::operation::copy, 1, gpubuf::host::when::at_submission);
  EXPECT_FALSE(gpubuf::status::ok == buffer.to_device<no_throw>(stream));
  EXPECT_OK(buffer.begin_write<std::int32_t, no_throw>(no_wait));
  EXPECT_OK(buffer.to_device<no_throw>(stream));
}

TEST_F(Buffers, ABlockingCopyTellsItsOwnFailure) {
  if (!test::copies_fail_alone()) GTEST_SKIP() << "with this driver a copy that fails takes the device with it";
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  gpubuf::host::fail_operation(device, gpubuf::host::operation::copy, 1, gpubuf::host::when::at_execution);
  EXPECT_STATUS(status::copy_failed, buffer.to_device_blocking<no_throw>(stream));
  EXPECT_OK(buffer.to_device_blocking<no_throw>(stream));
}

TEST_F(Buffers, MemoryThatIsNotThereThrowsOutOfMemory) {
  gpubuf::host::limit_memory(device, placement::device, 1 << 20);
  EXPECT_THROW(gpubuf::buffer::create<float>(device, {1 << 20}), gpubuf::out_of_memory);
  EXPECT_STATUS(status::out_of_device_memory, gpubuf::buffer::create<float, no_throw>(device, {1 << 20}));
  gpubuf::host::limit_memory(device, placement::pinned, 1 << 20);
  EXPECT_STATUS(status::out_of_host_memory, gpubuf::buffer::create<float, no_throw>(device, {1 << 20}, placement::pinned, placement::none));
}
