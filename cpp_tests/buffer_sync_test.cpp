// Buffers in parts and in other sizes: what is newer where, views and windows, resize, figures.
#include "support.hpp"

#include <algorithm>
#include <utility>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::placement;
using gpubuf::side;
using gpubuf::status;
using gpubuf::sync_policy;

namespace {

using pairs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

/// What is newer on a side, as (first, count) in rising order; of windows their first rows.
pairs dirty(const gpubuf::buffer& buffer, side which) {
  pairs out;
  for (const gpubuf::dirty_range& range : buffer.dirty_ranges(which)) out.emplace_back(range.first, range.count);
  std::sort(out.begin(), out.end());
  return out;
}

class BufferSync : public test::Device {};
class BufferViews : public test::Device {
 protected:
  /// 4 rows of 6: 0, 1, 2, ...
  gpubuf::buffer matrix() {
    auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4, 6});
    buffer.copy_in(test::ramp<std::int32_t>(24));
    return buffer;
  }
};
class BufferResize : public test::Device {};
class BufferFigures : public test::Device {};

}  // namespace

// ---- Which side is newer ----------------------------------------------------------------------------------------

TEST_F(BufferSync, WritesAreRemembered) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {100});
  EXPECT_EQ(pairs{}, dirty(buffer, side::host)) << "both sides are zero";
  buffer.copy_in(test::ramp<std::int32_t>(5), 10);
  { auto values = buffer.begin_write<std::int32_t>(20, 2); values[0] = 1; }
  EXPECT_EQ((pairs{{10, 5}, {20, 2}}), dirty(buffer, side::host));
  buffer.to_device(stream);
  EXPECT_EQ(pairs{}, dirty(buffer, side::host)) << "sent";
  buffer.fill(std::int32_t{7}, stream, side::device);
  EXPECT_EQ((pairs{{0, 100}}), dirty(buffer, side::device));
  buffer.fill(std::int32_t{7}, stream);
  EXPECT_EQ(pairs{}, dirty(buffer, side::device)) << "the same on both sides";
  buffer.used_on(stream, gpubuf::access::read);
  EXPECT_EQ(pairs{}, dirty(buffer, side::device));
  buffer.used_on(stream, gpubuf::access::write);
  EXPECT_EQ((pairs{{0, 100}}), dirty(buffer, side::device));
}

TEST_F(BufferSync, MovesWhatIsNewerTheRightWay) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {100});
  buffer.fill(std::int32_t{5}, stream, side::device);
  buffer.to_host(stream, 0, 50);
  buffer.mark_clean(side::device, 90);
  buffer.copy_in(std::vector<std::int32_t>{1, 2, 3}, 10);
  EXPECT_EQ((pairs{{50, 40}}), dirty(buffer, side::device));
  buffer.sync_blocking(stream);
  EXPECT_EQ(3, buffer.begin_read<std::int32_t>()[12]);
  EXPECT_EQ(5, buffer.begin_read<std::int32_t>()[89]);
  EXPECT_EQ(0, buffer.begin_read<std::int32_t>()[90]) << "nobody needs it, its owner said";
  const auto stats = buffer.stats();
  EXPECT_EQ(1u, stats.syncs);
  EXPECT_EQ(1u, stats.to_device_copies);
  EXPECT_EQ(12u, stats.to_device_bytes);
  buffer.zero_host();
  buffer.to_host(stream);
  EXPECT_EQ(2, buffer.begin_read<std::int32_t>()[11]) << "what was sent is there";
}

TEST_F(BufferSync, BothSidesNewerIsAConflict) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {8});
  buffer.fill(std::int32_t{1}, stream, side::device);
  buffer.copy_in(std::vector<std::int32_t>{2, 2}, 3);
  EXPECT_STATUS(status::conflict, buffer.sync<no_throw>(stream));
  EXPECT_ERROR(status::conflict, buffer.sync(stream));
  EXPECT_EQ((pairs{{3, 2}}), dirty(buffer, side::host)) << "nothing was done";
  buffer.sync(stream, sync_policy::host_wins);
  EXPECT_EQ((std::vector<std::int32_t>{1, 1, 1, 2, 2, 1, 1, 1}), test::copy_of(buffer.begin_read<std::int32_t>()));
  EXPECT_EQ(2u, buffer.stats().conflicts);
}

TEST_F(BufferSync, ThePolicyMayBeTheBuffers) {
  gpubuf::buffer_options options;
  options.dtype = GPUBUF_DTYPE_I32;
  options.sync_policy = GPUBUF_SYNC_NEWEST_WINS;
  gpubuf::extents{4}.put(options);
  auto buffer = gpubuf::buffer::create(device, options);
  buffer.fill_host(std::int32_t{1});
  buffer.fill(std::int32_t{2}, stream, side::device);
  buffer.sync(stream);
  EXPECT_EQ(2, buffer.begin_read<std::int32_t>()[0]) << "the device's came last";
  EXPECT_STATUS(status::invalid_argument, static_cast<status>(gpubuf_buffer_sync(buffer.capi(), 5, stream.capi())));
}

TEST_F(BufferSync, IsBusyWhileSomebodyWrites) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {8});
  auto writing = buffer.begin_write<std::int32_t>(0, 2);
  EXPECT_STATUS(status::busy, buffer.sync<no_throw>(stream));
  writing.end();
  EXPECT_OK(buffer.sync<no_throw>(stream));
}

TEST_F(BufferSync, SendsAFailedCopyAgain) {
  if (!test::copies_fail_alone()) GTEST_SKIP() << "a copy that fails takes a CUDA device with it";
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {8});
  buffer.copy_in(test::ramp<std::int32_t>(8));
  gpubuf::host::fail_operation(device, gpubuf::host::operation::copy, 1, gpubuf::host::when::at_execution);
  EXPECT_STATUS(status::copy_failed, buffer.sync_blocking<no_throw>(stream));
  EXPECT_EQ((pairs{{0, 8}}), dirty(buffer, side::host));
  buffer.sync(stream);
  buffer.zero_host();
  buffer.to_host(stream);
  EXPECT_EQ(test::ramp<std::int32_t>(8), test::copy_of(buffer.begin_read<std::int32_t>()));
}

// ---- Views ------------------------------------------------------------------------------------------------------

TEST_F(BufferViews, ASliceIsABufferOfItsRows) {
  auto buffer = matrix();
  auto rows = buffer.slice(1, 2);
  EXPECT_EQ(test::ramp<std::int32_t>(12, 6), test::copy_of(rows.begin_read<std::int32_t>()));
  const auto info = rows.info();
  EXPECT_EQ(1u, info.is_view);
  EXPECT_EQ(1u, info.contiguous);
  EXPECT_EQ(6u, info.offset);
  EXPECT_EQ(2u, info.shape[0]);
  EXPECT_EQ(48u, info.host_bytes);
  rows.to_device(stream);
  EXPECT_EQ((pairs{{0, 6}, {18, 6}}), dirty(buffer, side::host)) << "the rest was not sent";
  EXPECT_EQ(1u, buffer.stats().to_device_copies);
  EXPECT_EQ(1u, buffer.stats().views);
}

TEST_F(BufferViews, AWindowHasGapsBetweenItsRows) {
  auto buffer = matrix();
  auto window = buffer.window(1, 2, 2, 3);
  std::vector<std::int32_t> got(6);
  window.copy_out(got);
  EXPECT_EQ((std::vector<std::int32_t>{8, 9, 10, 14, 15, 16}), got) << "no gaps in the caller's memory";
  {
    auto rows = window.begin_write_strided<std::int32_t>();
    EXPECT_EQ(2u, rows.extent(0));
    EXPECT_EQ(6u, rows.stride(0));
    rows(1, 2) = -16;
  }
  EXPECT_EQ(-16, buffer.begin_read<std::int32_t>()[16]);
  EXPECT_EQ(-16, window.begin_read_strided<std::int32_t>()(1, 2));
  EXPECT_STATUS(status::invalid_argument, window.begin_read<std::int32_t, no_throw>()) << "no span of it";
  EXPECT_STATUS(status::invalid_argument, window.copy_in<no_throw>(std::vector<std::int32_t>(2))) << "half a row";
  EXPECT_EQ(14, window.begin_read<std::int32_t>(3, 3)[0]) << "one row is a span";
}

TEST_F(BufferViews, AWindowIsOneCopy) {
  auto buffer = matrix();
  auto window = buffer.window(1, 3, 2, 3);
  window.to_device(stream);
  EXPECT_EQ(1u, buffer.stats().to_device_copies);
  EXPECT_EQ(36u, buffer.stats().to_device_bytes);
  buffer.zero_host();
  buffer.to_host(stream);
  EXPECT_EQ((std::vector<std::int32_t>{0, 0, 0, 0, 0, 0, 0, 0, 8, 9, 10, 0, 0, 0, 14, 15, 16, 0, 0, 0, 20, 21, 22, 0}),
            test::copy_of(buffer.begin_read<std::int32_t>()));
}

TEST_F(BufferViews, ViewsBesideEachOtherDoNotDisturbEachOther) {
  auto buffer = matrix();
  auto left = buffer.window(0, gpubuf::all, 0, 3);
  auto right = buffer.window(0, gpubuf::all, 3, gpubuf::all);
  auto writing = left.begin_write_strided<std::int32_t>(no_wait);
  EXPECT_OK((right.begin_write_strided<std::int32_t, no_throw>(no_wait)));
  EXPECT_OK(right.to_device<no_throw>(stream));
  EXPECT_STATUS(status::busy, left.to_device<no_throw>(stream));
  EXPECT_STATUS(status::busy, (buffer.begin_write<std::int32_t, no_throw>(no_wait)));
}

TEST_F(BufferViews, OutliveTheirBuffer) {
  auto buffer = matrix();
  auto inner = buffer.slice(2).window(0, 2, 1, 2);
  buffer.reset();
  EXPECT_EQ(19, inner.begin_read_strided<std::int32_t>()(1, 0));
  inner.to_device(stream);
  EXPECT_OK(inner.sync<no_throw>(stream));
}

TEST_F(BufferViews, HaveAddressesOfTheirOwn) {
  auto buffer = matrix();
  auto window = buffer.window(1, 2, 2, 3);
  const gpubuf::device_view all = buffer.device_view(gpubuf::stream_list{stream});
  const gpubuf::device_view part = window.device_view(gpubuf::stream_list{stream});
  EXPECT_EQ(all.data + 4 * all.offset(1, 2), part.data);
  EXPECT_EQ(6u, part.stride(0));
  EXPECT_EQ(3u, part.extent(1));
}

TEST_F(BufferViews, AreNotResizedNorEmpty) {
  auto buffer = matrix();
  auto rows = buffer.slice(0, 1);
  EXPECT_STATUS(status::unsupported, rows.resize<no_throw>({2}));
  EXPECT_STATUS(status::invalid_argument, buffer.slice<no_throw>(4, gpubuf::all));
  EXPECT_STATUS(status::invalid_argument, buffer.slice<no_throw>(1, 0));
  EXPECT_STATUS(status::invalid_argument, buffer.window<no_throw>(0, 1, 6, 1));
  EXPECT_STATUS(status::invalid_argument, buffer.window<no_throw>(0, 1, UINT64_MAX, 2));
}

// ---- Other shapes -----------------------------------------------------------------------------------------------

TEST_F(BufferResize, StaysInPlaceUpToTheCapacity) {
  gpubuf::buffer_options options;
  options.dtype = GPUBUF_DTYPE_I32;
  options.capacity = 64;
  gpubuf::extents{2, 8}.put(options);
  auto buffer = gpubuf::buffer::create(device, options);
  const auto before = buffer.device_address(stream);
  buffer.copy_in(test::ramp<std::int32_t>(16));
  auto rows = buffer.slice(0);
  buffer.resize({8, 8});
  EXPECT_EQ(before, buffer.device_address(stream));
  EXPECT_EQ(64u, buffer.info().count);
  EXPECT_EQ(64u, buffer.info().capacity);
  EXPECT_EQ(15, buffer.begin_read<std::int32_t>()[15]);
  EXPECT_STATUS(status::busy, buffer.resize<no_throw>({4})) << "a view would show what is not there";
  rows.reset();
  EXPECT_OK(buffer.resize<no_throw>({4}));
  auto reading = buffer.begin_read<std::int32_t>();
  EXPECT_STATUS(status::busy, buffer.resize<no_throw>({5}));
}

TEST_F(BufferResize, KeepsWhatIsAskedForBeyond) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  buffer.copy_in(test::ramp<std::int32_t>(4, 1));
  buffer.fill(std::int32_t{9}, stream, side::device);
  buffer.resize({2, 3}, stream);
  EXPECT_EQ((std::vector<std::int32_t>{1, 2, 3, 4, 0, 0}), test::copy_of(buffer.begin_read<std::int32_t>()));
  buffer.to_host(stream);
  EXPECT_EQ((std::vector<std::int32_t>{9, 9, 9, 9, 0, 0}), test::copy_of(buffer.begin_read<std::int32_t>()));
  buffer.resize({100});
  EXPECT_EQ(std::vector<std::int32_t>(100), test::copy_of(buffer.begin_read<std::int32_t>())) << "nothing was to be kept";
  EXPECT_EQ(2u, buffer.stats().resizes);
}

TEST_F(BufferResize, IsRefusedWhereTheMemoryIsTheCallers) {
  std::vector<std::int32_t> memory(8);
  auto buffer = gpubuf::borrowed_buffer::over<std::int32_t>(device, memory);
  EXPECT_STATUS(status::unsupported, buffer.resize<no_throw>({9}));
  EXPECT_OK(buffer.resize<no_throw>({2, 4}));
  buffer.detach();
}

TEST_F(BufferResize, ResetMakesABufferAsNew) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  buffer.copy_in(test::ramp<std::int32_t>(4, 1));
  buffer.to_device(stream);
  buffer.mark_dirty(side::host);
  buffer.reset_contents(stream);
  EXPECT_EQ(pairs{}, dirty(buffer, side::host));
  EXPECT_EQ(0u, buffer.stats().to_device_copies);
  EXPECT_EQ(std::vector<std::int32_t>(4), test::copy_of(buffer.begin_read<std::int32_t>()));
  buffer.to_host(stream);
  EXPECT_EQ(std::vector<std::int32_t>(4), test::copy_of(buffer.begin_read<std::int32_t>()));
}

// ---- Figures ----------------------------------------------------------------------------------------------------

TEST_F(BufferFigures, TimesAreAbsentUnlessAskedFor) {
  auto plain = gpubuf::buffer::create<std::int32_t>(device, {1024});
  plain.to_device_blocking(stream);
  EXPECT_EQ(gpubuf::absent, plain.stats().to_device_ns);
  EXPECT_EQ(gpubuf::absent, plain.stats().to_host_timed);
  gpubuf::buffer_options options;
  options.dtype = GPUBUF_DTYPE_I32;
  options.timed = 1;
  gpubuf::extents{1024}.put(options);
  auto timed = gpubuf::buffer::create(device, options);
  EXPECT_EQ(0u, timed.stats().to_device_timed);
  timed.to_device_blocking(stream);
  timed.to_device_blocking(stream, gpubuf::timeout_default, 0, 1);
  timed.to_host_blocking(stream);
  const auto stats = timed.stats();
  EXPECT_EQ(2u, stats.to_device_timed);
  EXPECT_EQ(1u, stats.to_host_timed);
  EXPECT_NE(gpubuf::absent, stats.to_device_ns);
  EXPECT_EQ(4100u, stats.to_device_bytes);
}

TEST_F(BufferFigures, AreThoseOfTheBufferAndItsViews) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4, 4});
  auto row = buffer.slice(1, 1);
  row.fill(std::int32_t{1}, stream, side::device);
  row.to_host_blocking(stream);
  for (const auto& stats : {buffer.stats(), row.stats()}) {
    EXPECT_EQ(1u, stats.device_fills);
    EXPECT_EQ(16u, stats.to_host_bytes);
    EXPECT_EQ(0u, stats.failures);
  }
}

TEST_F(BufferFigures, OneSidedBuffersHaveNothingToSync) {
  for (const auto host : {placement::pinned, placement::none}) {
    const auto other = host == placement::none ? placement::device : placement::none;
    auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4}, host, other);
    const auto there = host == placement::none ? side::device : side::host;
    buffer.mark_dirty(there);
    EXPECT_EQ(pairs{}, dirty(buffer, there));
    EXPECT_OK(buffer.sync<no_throw>(stream));
    EXPECT_STATUS(status::unsupported, buffer.dirty_ranges<no_throw>(there == side::host ? side::device : side::host));
    EXPECT_STATUS(status::unsupported, buffer.to_device<no_throw>(stream));
    EXPECT_OK(buffer.reset_contents<no_throw>(stream));
    EXPECT_OK(buffer.resize<no_throw>({8}, stream));
  }
}
