// Staged rows: a table that changes in a few places a step, such as that of a key-value cache's blocks.
#include "support.hpp"

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::staged_rows;
using gpubuf::status;
namespace host = gpubuf::host;

class StagedRows : public test::Device {
 protected:
  using row = std::vector<std::int32_t>;
  /// Four requests with up to six blocks each.
  staged_rows<std::int32_t> table = staged_rows<std::int32_t>::create(device, 4, 6);

  /// A row as a kernel on the stream sees it.
  template <class Rows>
  row seen(Rows& of, std::uint64_t number) {
    row out(6, -1);
    const auto at = of.device_address({stream}) + number * 24;
    host::call(stream, [&, at](host::view& memory) { memory.read(at, out.data(), 24); });
    stream.synchronize();
    return out;
  }
};

TEST_F(StagedRows, WritesAreStagedAndThenAppliedTogether) {
  table.stage(0, 0, {10, 11, 12});  // Request 0 has three blocks ...
  table.stage(2, 0, {20});
  table.stage(0, 3, 13);  // ... and one more.
  EXPECT_EQ((row{0, 0, 0, 0, 0, 0}), seen(table, 0)) << "nothing is sent before apply";

  const auto before = device.stats();
  table.apply(stream);
  const auto after = device.stats();
  EXPECT_EQ(1u, after.copies - before.copies) << "one copy for all of them";
  EXPECT_EQ((row{10, 11, 12, 13, 0, 0}), seen(table, 0));
  EXPECT_EQ((row{20, 0, 0, 0, 0, 0}), seen(table, 2));

  const auto stats = table.stats();
  EXPECT_EQ(3u, stats.writes);
  EXPECT_EQ(1u, stats.applies);
  EXPECT_EQ(1u, stats.scatters);
  EXPECT_EQ(0u, table.info().staged_writes);
}

TEST_F(StagedRows, TheLastWriteWins) {
  table.stage(1, 0, {1, 1, 1, 1});
  table.stage(1, 1, {2, 2});
  table.stage(1, 2, 3);
  table.apply(stream);
  EXPECT_EQ((row{1, 2, 3, 1, 0, 0}), seen(table, 1));
  EXPECT_EQ(16u, table.stats().applied_bytes) << "what was overwritten before is not sent";
}

TEST_F(StagedRows, AnApplyOfNothingIsNothing) {
  table.stage(0, 0, 1);
  table.clear();
  const auto before = device.stats();
  table.apply(stream);
  EXPECT_EQ(before.fences_recorded, device.stats().fences_recorded);
  EXPECT_EQ(0u, table.stats().applies);
}

TEST_F(StagedRows, WhatDoesNotFitIsRefusedAndStagesNothing) {
  EXPECT_STATUS(status::invalid_argument, table.stage<no_throw>(4, 0, 1));
  EXPECT_STATUS(status::invalid_argument, table.stage<no_throw>(0, 5, {1, 2}));
  EXPECT_EQ(0u, table.info().staged_writes);

  gpubuf::staged_rows_options options;
  options.dtype = GPUBUF_DTYPE_I32;
  options.rows = 4;
  options.row_elements = 6;
  options.max_writes = 2;
  options.staging_bytes = 16;
  auto small = staged_rows<std::int32_t>::create(device, options);
  small.stage(0, 0, {1, 2, 3});
  EXPECT_ERROR(status::overflow, small.stage(1, 0, {1, 2}));
  small.stage(1, 0, 1);
  EXPECT_STATUS(status::overflow, small.stage<no_throw>(2, 0, 1));
  small.apply(stream);
  small.stage(2, 0, {1, 2});  // There is room again.
}

TEST_F(StagedRows, TheHostRunsAheadByTheDepthAndThenWaits) {
  auto shut = host::hold(stream);
  for (std::int32_t n = 1; n <= 2; ++n) {  // Two staging entries.
    table.stage(0, 0, n);
    table.apply(stream);
  }
  table.stage(0, 0, 3);
  EXPECT_STATUS(status::busy, table.apply<no_throw>(stream, {}, no_wait)) << "both are still to be read";
  EXPECT_EQ(1u, table.info().staged_writes) << "and the third write is still staged";
  shut.release();
  table.apply(stream);
  EXPECT_EQ(3, seen(table, 0)[0]);
}

TEST_F(StagedRows, AnApplyWaitsForReadersAndConsumersForIt) {
  auto copies = gpubuf::stream::create(device);
  {
    auto shut = host::hold(stream);
    host::delay(stream, std::chrono::nanoseconds(1));  // A kernel that reads the table,
    table.used_on(stream, gpubuf::access::read);       // which the library does not see.
    table.stage(0, 0, 1);
    table.apply(copies);
    EXPECT_FALSE(copies.is_idle()) << "it comes behind the reader";
  }
  auto shut = host::hold(copies);
  table.stage(0, 0, 2);
  table.apply(copies, {stream});
  host::delay(stream, std::chrono::nanoseconds(1));
  EXPECT_FALSE(stream.is_idle()) << "a consumer's later work comes behind the apply";
  shut.release();
  EXPECT_EQ(2, seen(table, 0)[0]);
}

TEST_F(StagedRows, ATableGrowsWhileItIsInUse) {
  auto growing = staged_rows<std::int32_t>::create(device, 2, 6, 4);  // Memory for four rows.
  const auto address = growing.device_address({stream});
  growing.stage(1, 0, {7, 8});
  growing.apply(stream);
  EXPECT_FALSE(growing.grow(4, stream)) << "it does not move";
  EXPECT_EQ(address, growing.device_address({stream}));
  growing.stage(3, 0, 9);  // Staged for the table, wherever that will be.
  EXPECT_TRUE(growing.grow(40, stream)) << "a moved table has another address";
  EXPECT_NE(address, growing.device_address({stream}));
  growing.apply(stream);
  EXPECT_EQ((row{7, 8, 0, 0, 0, 0}), seen(growing, 1));
  EXPECT_EQ(9, seen(growing, 3)[0]);
  EXPECT_EQ((row{0, 0, 0, 0, 0, 0}), seen(growing, 39));
  EXPECT_STATUS(status::invalid_argument, growing.grow<no_throw>(39, stream));
}

TEST_F(StagedRows, AGraphKeepsTheTableWhereItIs) {
  {
    auto hold = gpubuf::graph_hold::create(device);
    hold.add(table);
    EXPECT_STATUS(status::graph_held, table.grow<no_throw>(100, stream));
    EXPECT_OK(table.stage<no_throw>(0, 0, 1));
    EXPECT_OK(table.apply<no_throw>(stream));
  }
  EXPECT_TRUE(table.grow(100, stream));
}

TEST_F(StagedRows, ABufferIsATableToo) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4, 6});
  auto rows = staged_rows<std::int32_t>::over(device, buffer);
  rows.stage(3, 4, {5, 6});
  rows.apply(stream);
  EXPECT_EQ(2u, buffer.dirty_ranges(gpubuf::side::device).at(0).count) << "newer on the device side";
  buffer.sync_blocking(stream);
  EXPECT_EQ((row{5, 6}), test::copy_of(buffer.begin_read<std::int32_t>(22, 2)));

  EXPECT_STATUS(status::invalid_argument, staged_rows<float>::over<no_throw>(device, buffer)) << "another type";
  EXPECT_STATUS(status::unsupported, rows.grow<no_throw>(8, stream)) << "the buffer is resized itself";
  auto bytes = staged_rows<std::byte>::over(device, buffer);
  const std::vector<std::byte> value(4, std::byte{1});
  EXPECT_OK(bytes.stage<no_throw>(0, 5, value)) << "one element, as bytes";
  EXPECT_STATUS(status::invalid_argument, bytes.stage<no_throw>(0, 0, gpubuf::span<const std::byte>(value.data(), 3)));
}

TEST_F(StagedRows, ATableInHostMemoryThatKernelsUseInPlace) {
  gpubuf::staged_rows_options options;
  options.dtype = GPUBUF_DTYPE_I32;
  options.rows = 4;
  options.row_elements = 6;
  options.placement = GPUBUF_PLACEMENT_UVA;
  auto rows = staged_rows<std::int32_t>::create(device, options);
  rows.stage(3, 0, {1, 2});
  rows.apply(stream);
  EXPECT_EQ((row{1, 2, 0, 0, 0, 0}), seen(rows, 3));
}

TEST_F(StagedRows, AnAddressThatNobodyDeclaredKeepsTheTableAsItIs) {
  static_cast<void>(table.device_address(gpubuf::unnamed));
  table.stage(0, 0, 1);
  EXPECT_STATUS(status::unfenced, table.apply<no_throw>(stream));
  table.used_on(stream, gpubuf::access::read);
  EXPECT_OK(table.apply<no_throw>(stream)) << "all was still staged";
  EXPECT_STATUS(status::invalid_argument, table.device_address<no_throw>(gpubuf::stream_list()));
}

TEST_F(StagedRows, WhatIsRefusedHalfWayIsStillStaged) {
  table.stage(0, 0, 1);
  for (const auto kind : {host::operation::copy, host::operation::kernel}) {
    host::fail_operation(device, kind, 1, host::when::at_submission);
    EXPECT_STATUS(status::driver_error, table.apply<no_throw>(stream));
    EXPECT_EQ(0, seen(table, 0)[0]) << "and the table is as it was";
  }
  table.apply(stream);
  EXPECT_EQ(1, seen(table, 0)[0]);
}

TEST_F(StagedRows, AnApplyThatFailsWhenItRunsWritesNothingAndIsToldOnce) {
  if (!test::copies_fail_alone()) GTEST_SKIP() << "the CUDA driver loses the device with a copy";
  table.stage(0, 0, 1);
  host::fail_operation(device, host::operation::copy, 1, host::when::at_execution);
  table.apply(stream);
  EXPECT_STATUS(status::copy_failed, stream.synchronize<no_throw>());
  table.stage(1, 0, 2);
  EXPECT_STATUS(status::copy_failed, table.apply<no_throw>(stream));
  table.apply(stream);
  EXPECT_EQ(0, seen(table, 0)[0]);
  EXPECT_EQ(2, seen(table, 1)[0]);
}
