// Index operations on host memory: what each does, and what each refuses before it has written anything.
#include "support.hpp"

#include <array>
#include <climits>

using gpubuf::no_throw;
using gpubuf::status;
namespace ops = gpubuf::ops;

using floats = std::vector<float>;
using ints = std::vector<std::int32_t>;
using longs = std::vector<std::int64_t>;

// ---- Gather and scatter ----------------------------------------------------------------------------------------

TEST(Gather, TakesElementsByTheirNumbers) {
  const floats table{10, 11, 12, 13};
  floats picked(5);
  ops::gather(table, ints{3, 0, 0, 2, 1}, picked);
  EXPECT_EQ((floats{13, 10, 10, 12, 11}), picked);
}

TEST(Gather, TakesRowsOfAnyWidthByIndicesOfBothTypes) {
  const ints table{0, 1, 2, 10, 11, 12, 20, 21, 22};
  ints picked(6);
  ops::gather(table, longs{2, 0}, picked, 3);
  EXPECT_EQ((ints{20, 21, 22, 0, 1, 2}), picked);
}

TEST(Gather, LeavesTheRestOfALongerTarget) {
  ints picked{7, 7, 7};
  ops::gather(ints{1, 2}, ints{1}, picked);
  EXPECT_EQ((ints{2, 7, 7}), picked);
}

TEST(Gather, ChecksEveryIndexBeforeItWrites) {
  const ints table{1, 2, 3};
  ints picked{7, 7, 7};
  EXPECT_STATUS(status::invalid_argument, ops::gather<no_throw>(table, ints{0, 1, 3}, picked));
  EXPECT_EQ("gpubuf_ops_gather: indices[2] is 3: source has 3 rows, counted from 0", gpubuf::last_error_message());
  EXPECT_STATUS(status::invalid_argument, ops::gather<no_throw>(table, longs{0, -1, 9}, picked));
  EXPECT_EQ("gpubuf_ops_gather: indices[1] is -1: source has 3 rows, counted from 0", gpubuf::last_error_message());
  EXPECT_EQ((ints{7, 7, 7}), picked);
}

TEST(Gather, RefusesWhatDoesNotFit) {
  ints picked(1);
  EXPECT_STATUS(status::overflow, ops::gather<no_throw>(ints{1, 2, 3}, ints{0, 1}, picked));
  EXPECT_STATUS(status::overflow, ops::gather<no_throw>(ints{1, 2, 3, 4}, ints{0}, picked, 2));
  EXPECT_STATUS(status::invalid_argument, ops::gather<no_throw>(ints{1, 2, 3}, ints{0}, picked, 2)) << "no whole rows";
  EXPECT_STATUS(status::invalid_argument, ops::gather<no_throw>(ints{1, 2, 3}, ints{0}, picked, 0));
  EXPECT_ERROR(status::overflow, ops::gather(ints{1, 2, 3}, ints{0, 1}, picked));
}

TEST(Gather, RefusesATargetOnTopOfWhatItReads) {
  ints all{0, 1, 2, 3};
  const gpubuf::span<std::int32_t> view(all);
  EXPECT_STATUS(status::invalid_argument, ops::gather<no_throw>(view, ints{0}, view.subspan(3)));
  EXPECT_STATUS(status::invalid_argument, ops::gather<no_throw>(ints{5, 6, 7, 8}, view, view));
  EXPECT_OK(ops::gather<no_throw>(view.subspan(0, 2), ints{1}, view.subspan(3)));
  EXPECT_EQ((ints{0, 1, 2, 1}), all);
}

TEST(Scatter, PutsRowsWhereTheirNumbersSay) {
  ints table{7, 7, 7, 7, 7, 7};
  ops::scatter(ints{1, 2, 3, 4}, longs{2, 0}, table, 2);
  EXPECT_EQ((ints{3, 4, 7, 7, 1, 2}), table) << "a row that no index names stays";
}

TEST(Scatter, LetsTheLastOfEqualIndicesWin) {
  ints table(2);
  ops::scatter(ints{1, 2, 3}, ints{1, 0, 1}, table);
  EXPECT_EQ((ints{2, 3}), table);
}

TEST(Scatter, ChecksEveryIndexBeforeItWrites) {
  ints table{7, 7};
  EXPECT_STATUS(status::invalid_argument, ops::scatter<no_throw>(ints{1, 2}, ints{0, INT_MIN}, table));
  EXPECT_EQ("gpubuf_ops_scatter: indices[1] is -2147483648: target has 2 rows, counted from 0", gpubuf::last_error_message());
  EXPECT_STATUS(status::invalid_argument, ops::scatter<no_throw>(ints{1, 2}, ints{0, 2}, table));
  EXPECT_EQ((ints{7, 7}), table);
}

TEST(Scatter, RefusesWhatDoesNotFitOrOverlaps) {
  ints table{7, 7, 7};
  EXPECT_STATUS(status::overflow, ops::scatter<no_throw>(ints{1}, ints{0, 1}, table)) << "fewer rows than indices";
  EXPECT_STATUS(status::invalid_argument, ops::scatter<no_throw>(ints{1, 2}, ints{0}, table, 2)) << "no whole rows";
  EXPECT_STATUS(status::invalid_argument, ops::scatter<no_throw>(gpubuf::span<std::int32_t>(table).subspan(2), ints{0}, table));
  EXPECT_EQ((ints{7, 7, 7}), table);
}

TEST(Scatter, GatherTakesBackWhatScatterPut) {
  const ints order{3, 1, 4, 0, 2};
  const floats source = test::ramp<float>(10, 1);
  floats there(10), back(10);
  ops::scatter(source, order, there, 2);
  ops::gather(there, order, back, 2);
  EXPECT_EQ(source, back);
}

// ---- Pad -------------------------------------------------------------------------------------------------------

TEST(Pad, FillsTheLastAxisUpToAMultiple) {
  ints padded(8);
  EXPECT_EQ(4u, ops::pad(ints{1, 2, 3, 4, 5, 6}, {2, 3}, 1, 4, -1, padded));
  EXPECT_EQ((ints{1, 2, 3, -1, 4, 5, 6, -1}), padded);
}

TEST(Pad, FillsAnyAxis) {
  floats padded(12, 7.0f);
  EXPECT_EQ(4u, ops::pad(floats{1, 2, 3, 4, 5, 6}, {3, 2}, 0, 2, 0.5f, padded));
  EXPECT_EQ((floats{1, 2, 3, 4, 5, 6, 0.5f, 0.5f, 7, 7, 7, 7}), padded) << "whole rows, and nothing behind them";
  EXPECT_EQ(3u, ops::pad(floats{1, 2, 3, 4}, {2, 1, 2}, 1, 3, 0.0f, padded));
  EXPECT_EQ((floats{1, 2, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0}), padded);
}

TEST(Pad, WorksInPlaceForInnerAxesToo) {
  ints data{1, 2, 3, 4, 5, 6, 7, 7, 7};
  EXPECT_EQ(4u, ops::pad_in_place(data, {2, 3}, 1, 2, 0));
  EXPECT_EQ((ints{1, 2, 3, 0, 4, 5, 6, 0, 7}), data);
}

TEST(Pad, AMultipleStaysAsItIs) {
  ints data{1, 2, 3, 4};
  EXPECT_EQ(2u, ops::pad_in_place(data, {2, 2}, 1, 2, 9));
  EXPECT_EQ((ints{1, 2, 3, 4}), data);
  EXPECT_EQ(2u, ops::pad_in_place(data, {2, 2}, 0, 1, 9));
}

TEST(Pad, RefusesWhatHasNoRoom) {
  ints data{1, 2, 3, 4, 5, 6, 7}, padded(7, 7);
  EXPECT_STATUS(status::overflow, ops::pad<no_throw>(ints{1, 2, 3, 4, 5, 6}, {2, 3}, 1, 4, 0, padded));
  EXPECT_STATUS(status::overflow, ops::pad_in_place<no_throw>(data, {2, 3}, 1, 4, 0));
  EXPECT_EQ(ints(7, 7), padded);
  EXPECT_EQ(test::ramp<std::int32_t>(7, 1), data);
}

TEST(Pad, RefusesShapesThatAreNone) {
  ints data(64), padded(64);
  EXPECT_STATUS(status::invalid_argument, ops::pad<no_throw>(ints{1, 2, 3}, {2, 2}, 1, 2, 0, padded)) << "not of the shape's size";
  EXPECT_STATUS(status::invalid_argument, ops::pad<no_throw>(ints{}, {2, 2}, 1, 2, 0, padded));
  EXPECT_STATUS(status::invalid_argument, ops::pad_in_place<no_throw>(data, {2, 2}, 2, 2, 0)) << "no such axis";
  EXPECT_STATUS(status::invalid_argument, ops::pad_in_place<no_throw>(data, {2, 2}, 0, 0, 0)) << "no such multiple";
  EXPECT_STATUS(status::invalid_argument, ops::pad_in_place<no_throw>(data, {}, 0, 1, 0));
  EXPECT_STATUS(status::invalid_argument, ops::pad_in_place<no_throw>(data, {1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 1, 0));
  EXPECT_OK(ops::pad_in_place<no_throw>(data, {1, 1, 1, 1, 1, 1, 1, 1}, 7, 64, 0).status());
  EXPECT_STATUS(status::overflow, ops::pad_in_place<no_throw>(data, {1ull << 40, 1ull << 40}, 0, 1, 0));
  EXPECT_STATUS(status::overflow, ops::pad_in_place<no_throw>(data, {UINT64_MAX}, 0, 2, 0));
  EXPECT_STATUS(status::invalid_argument, ops::pad_in_place<no_throw>(data, {2, 3}, 1, 4, data[1])) << "the value is in the array";
}

// ---- Sequences of different lengths ----------------------------------------------------------------------------

TEST(Offsets, AreTheSumsOfTheLengths) {
  longs wide(4);
  ops::offsets(ints{3, 0, 2}, wide);
  EXPECT_EQ((longs{0, 3, 3, 5}), wide);
  ints narrow(4);
  ops::offsets(longs{3, 0, 2}, narrow);
  EXPECT_EQ((ints{0, 3, 3, 5}), narrow);
}

TEST(Offsets, AreCheckedBeforeTheFirstIsWritten) {
  ints narrow(3, 7);
  longs wide(3, 7);
  EXPECT_STATUS(status::invalid_argument, ops::offsets<no_throw>(ints{1, -2}, narrow));
  EXPECT_EQ("gpubuf_ops_offsets: lengths[1] is -2: at least 0", gpubuf::last_error_message());
  EXPECT_STATUS(status::overflow, ops::offsets<no_throw>(ints{INT_MAX, 1}, narrow));
  EXPECT_STATUS(status::overflow, ops::offsets<no_throw>(longs{INT64_MAX, 1}, wide));
  EXPECT_STATUS(status::invalid_argument, ops::offsets<no_throw>(ints{1}, narrow)) << "n + 1 for n";
  EXPECT_EQ(ints(3, 7), narrow);
  EXPECT_EQ(longs(3, 7), wide);
  EXPECT_OK(ops::offsets<no_throw>(ints{INT_MAX, 1}, wide));
  EXPECT_EQ((longs{0, INT_MAX, INT_MAX + std::int64_t{1}}), wide);
}

TEST(Flatten, PutsPiecesOneBehindTheOther) {
  const std::vector<floats> prompts{{1, 2, 3}, {}, {4, 5}};
  floats flat(6, 7.0f);
  ints offsets(4);
  EXPECT_EQ(5u, ops::flatten(prompts, flat, offsets));
  EXPECT_EQ((floats{1, 2, 3, 4, 5, 7}), flat);
  EXPECT_EQ((ints{0, 3, 3, 5}), offsets);
}

TEST(Flatten, ChecksTheRoomFirst) {
  const std::vector<ints> parts{{1, 2}, {3}};
  ints flat(2, 7), offsets(3, 7);
  EXPECT_STATUS(status::overflow, ops::flatten<no_throw>(parts, flat, offsets));
  EXPECT_EQ("gpubuf_ops_flatten: the pieces have 3 elements, and target has room for 2", gpubuf::last_error_message());
  EXPECT_EQ(ints(2, 7), flat);
  EXPECT_EQ(ints(3, 7), offsets);
  EXPECT_STATUS(status::invalid_argument, ops::flatten<no_throw>(parts, flat, flat)) << "n + 1 offsets for n pieces";
}

TEST(Flatten, RefusesPiecesInsideItsTarget) {
  ints flat{1, 2, 3, 4}, offsets(2);
  const std::array<ops::piece<std::int32_t>, 1> inside{ops::piece<std::int32_t>({flat.data() + 1, 2})};
  EXPECT_STATUS(status::invalid_argument, ops::flatten<no_throw>(inside, flat, offsets));
  EXPECT_STATUS(status::invalid_argument, ops::flatten<no_throw>(inside, ints(2), gpubuf::span<std::int32_t>(flat).subspan(0, 2)));
  EXPECT_EQ((ints{1, 2, 3, 4}), flat);
}

TEST(Split, ShowsThePiecesWithoutACopy) {
  floats flat{1, 2, 3, 4, 5, 6};
  std::vector<ops::piece<float>> pieces(3);
  ops::split(flat, ints{0, 3, 3, 5}, pieces);
  EXPECT_EQ((floats{1, 2, 3}), test::copy_of(pieces[0]));
  EXPECT_EQ(0u, pieces[1].size());
  EXPECT_EQ((floats{4, 5}), test::copy_of(pieces[2]));
  pieces[2][0] = 40;
  EXPECT_EQ(40, flat[3]) << "they are views";
}

TEST(Split, FlattenTakesItsPieces) {
  const ints flat = test::ramp<std::int32_t>(9);
  const longs offsets{0, 4, 4, 9};
  std::array<ops::piece<const std::int32_t>, 3> pieces;
  ops::split(flat, offsets, pieces);
  std::swap(pieces[0], pieces[2]);
  ints turned(9), new_offsets(4);
  EXPECT_EQ(9u, ops::flatten(pieces, turned, new_offsets));
  EXPECT_EQ((ints{4, 5, 6, 7, 8, 0, 1, 2, 3}), turned);
  EXPECT_EQ((ints{0, 5, 5, 9}), new_offsets);
}

TEST(Split, ChecksEveryOffset) {
  ints flat(5);
  std::vector<ops::piece<std::int32_t>> pieces(2);
  EXPECT_STATUS(status::invalid_argument, ops::split<no_throw>(flat, ints{1, 2, 3}, pieces));
  EXPECT_EQ("gpubuf_ops_split: offsets[0] is 1: the first one is 0", gpubuf::last_error_message());
  EXPECT_STATUS(status::invalid_argument, ops::split<no_throw>(flat, ints{0, 3, 2}, pieces));
  EXPECT_EQ("gpubuf_ops_split: offsets[2] is 2, less than the one before it, 3", gpubuf::last_error_message());
  EXPECT_STATUS(status::invalid_argument, ops::split<no_throw>(flat, longs{0, 3, 6}, pieces));
  EXPECT_EQ("gpubuf_ops_split: offsets[2] is 6: source has 5 elements", gpubuf::last_error_message());
  EXPECT_STATUS(status::invalid_argument, ops::split<no_throw>(flat, ints{0, 5}, pieces)) << "n + 1 for n";
  EXPECT_EQ(nullptr, pieces[0].data()) << "none was written";
}

// ---- All of them -----------------------------------------------------------------------------------------------

TEST(IndexOperations, EmptyInputIsFine) {
  ints none, one(1, 7);
  EXPECT_OK(ops::gather<no_throw>(none, none, none));
  EXPECT_OK(ops::scatter<no_throw>(none, none, one));
  EXPECT_OK(ops::pad<no_throw>(none, {0, 4}, 1, 3, 0, none));
  EXPECT_EQ(0u, ops::pad_in_place(none, {3, 0}, 1, 8, 0)) << "0 is a multiple";
  EXPECT_EQ(7, one[0]);
  ops::offsets(none, one);
  EXPECT_EQ(0, one[0]);
  one[0] = 7;
  EXPECT_EQ(0u, ops::flatten(std::vector<ints>(), none, one));
  EXPECT_EQ(0, one[0]);
  EXPECT_EQ(0u, ops::flatten(std::vector<ints>(1), none, ints(2)));
  std::vector<ops::piece<std::int32_t>> no_pieces;
  EXPECT_OK(ops::split<no_throw>(none, one, no_pieces));
  EXPECT_OK(ops::split<no_throw>(none, none, no_pieces));
}

TEST(IndexOperations, NullIsFineWhereNothingIsBehindIt) {
  std::uint64_t shape[] = {2, 0}, extent = 7;
  std::int32_t offset = 7;
  EXPECT_OK(gpubuf_ops_gather(nullptr, 0, 4, nullptr, GPUBUF_DTYPE_I32, 0, nullptr));
  EXPECT_OK(gpubuf_ops_scatter(nullptr, 4, nullptr, GPUBUF_DTYPE_I64, 0, nullptr, 0));
  EXPECT_OK(gpubuf_ops_pad(nullptr, shape, 2, 4, 0, 3, nullptr, nullptr, 0, &extent));
  EXPECT_EQ(3u, extent);
  EXPECT_OK(gpubuf_ops_pad_in_place(nullptr, 0, shape, 2, 4, 1, 3, nullptr, &extent));
  EXPECT_EQ(0u, extent);
  EXPECT_OK(gpubuf_ops_offsets(nullptr, GPUBUF_DTYPE_I32, 0, GPUBUF_DTYPE_I32, &offset));
  EXPECT_EQ(0, offset);
  EXPECT_OK(gpubuf_ops_flatten(nullptr, 0, 4, GPUBUF_DTYPE_I32, nullptr, 0, &offset));
  EXPECT_OK(gpubuf_ops_split(nullptr, 0, 4, nullptr, GPUBUF_DTYPE_I32, 0, nullptr));
}

TEST(IndexOperations, RefuseUnknownTypesAndSizesThatNoMemoryHas) {
  std::int64_t a[4] = {}, b[4] = {};
  for (const std::uint32_t dtype : {0u, std::uint32_t{GPUBUF_DTYPE_U32}, 99u}) {
    EXPECT_STATUS(status::invalid_argument, gpubuf_ops_gather(a, 4, 8, a, dtype, 1, b));
    EXPECT_STATUS(status::invalid_argument, gpubuf_ops_offsets(a, dtype, 1, GPUBUF_DTYPE_I64, b));
    EXPECT_STATUS(status::invalid_argument, gpubuf_ops_offsets(a, GPUBUF_DTYPE_I64, 1, dtype, b));
  }
  EXPECT_STATUS(status::overflow, gpubuf_ops_gather(a, SIZE_MAX, 8, a, GPUBUF_DTYPE_I64, 1, b));
  EXPECT_STATUS(status::overflow, gpubuf_ops_gather(a, 4, SIZE_MAX / 2, a, GPUBUF_DTYPE_I64, 4, b));
  EXPECT_STATUS(status::overflow, gpubuf_ops_scatter(a, 8, a, GPUBUF_DTYPE_I64, SIZE_MAX / 4, b, 4));
  EXPECT_STATUS(status::overflow, gpubuf_ops_offsets(a, GPUBUF_DTYPE_I64, SIZE_MAX, GPUBUF_DTYPE_I64, b));
  EXPECT_STATUS(status::overflow, gpubuf_ops_split(a, SIZE_MAX, 8, a, GPUBUF_DTYPE_I64, 1, reinterpret_cast<gpubuf_piece*>(b)));
}

class IndexOperationsOnABuffer : public test::Device {};

TEST_F(IndexOperationsOnABuffer, WorkOnWhatAGuardShows) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  auto values = buffer.begin_write<std::int32_t>();
  ops::gather(ints{10, 20, 30}, ints{2, 2, 0, 1}, values);
  values.end();
  buffer.to_device(stream);
  EXPECT_EQ((ints{30, 30, 10, 20}), test::copy_of(buffer.begin_read<std::int32_t>()));
}
