// Many slots in one call, and rows that follow a step's tokens, padded to a size that graphs were captured for.
#include "support.hpp"

#include <cstring>
#include <iterator>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::slot_kind;
using gpubuf::status;

class SlotsTokens : public test::Device {
 protected:
  gpubuf::slots slots = gpubuf::slots::create(device);
  gpubuf::slot<std::int32_t> ids = slots.add<std::int32_t>("ids", {20}, slot_kind::required, 0, false, true);
  gpubuf::slot<std::int64_t> mapping = slots.add<std::int64_t>("mapping", {20}, slot_kind::required, -1, false, true);
  gpubuf::slot<std::int32_t> lengths = slots.add<std::int32_t>("lengths", {4});

  void SetUp() override { slots.freeze(); }

  template <class T>
  std::vector<T> on_device(gpubuf::slot<T> slot, std::size_t count) {
    std::vector<T> values(count);
    const gpubuf::address at = slots.device_address(slot);
    gpubuf::host::call(stream, [&](gpubuf::host::view& memory) { memory.read(at, values.data(), count * sizeof(T)); });
    stream.synchronize();
    return values;
  }
  const std::vector<std::int32_t> tokens = test::ramp<std::int32_t>(5, 1);
  const std::vector<std::int64_t> places = test::ramp<std::int64_t>(5, 100);
  const std::vector<std::int32_t> one{5};
};

TEST_F(SlotsTokens, AreStagedInOneCallAndPaddedInAnother) {
  auto step = slots.begin();
  step.write_many({{ids, tokens}, {mapping, places}, {lengths, one}}, tokens.size());
  EXPECT_EQ(8u, step.pad_tokens()) << "the next size that graphs have";
  step.commit(stream);
  step.retire();
  EXPECT_EQ((std::vector<std::int64_t>{100, 101, 102, 103, 104, -1, -1, -1}), on_device(mapping, 8));
  EXPECT_EQ((std::vector<std::int32_t>{1, 2, 3, 4, 5, 0, 0, 0}), on_device(ids, 8));
  EXPECT_EQ(6u, slots.stats().padded_rows);
}

TEST_F(SlotsTokens, AreCheckedBeforeAnythingIsWritten) {
  auto step = slots.begin();
  const std::vector<std::int64_t> four = test::ramp<std::int64_t>(4);
  EXPECT_STATUS(status::invalid_argument, step.write_many<no_throw>({{ids, tokens}, {mapping, four}}, 5)) << "a row for each token";
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("mapping")) << gpubuf::last_error_message();
  const gpubuf::slot<std::int32_t> nobody{9, 1, 1};
  EXPECT_STATUS(status::not_found, step.write_many<no_throw>({{ids, tokens}, {nobody, one}}));
  step.write(lengths, one);
  EXPECT_STATUS(status::slot_unwritten, step.commit<no_throw>(stream)) << "nothing of those was written";
  const std::vector<gpubuf::slot_rows> many(65, {lengths, one});
  EXPECT_STATUS(status::invalid_argument, step.write_many<no_throw>(many));
}

TEST_F(SlotsTokens, SizesAreThoseOfvLLMUnlessGiven) {
  EXPECT_EQ(1u, slots.padded_size(1));
  EXPECT_EQ(4u, slots.padded_size(3));
  EXPECT_EQ(256u, slots.padded_size(250));
  EXPECT_EQ(272u, slots.padded_size(257));
  EXPECT_EQ(513u, slots.padded_size(513)) << "no graph: as it is";
  const std::uint64_t sizes[] = {6, 24};
  gpubuf::decode_options options;
  options.padded_sizes = sizes;
  options.padded_size_count = std::size(sizes);
  auto own = gpubuf::slots::create_decode(device, options);
  EXPECT_EQ(6u, own.padded_size(2));
  EXPECT_EQ(24u, own.padded_size(7));
  own.freeze();
  EXPECT_EQ(1u, own.info(own.find("positions")).follows_tokens);
  EXPECT_EQ(0u, own.info(own.find("seq_lens")).follows_tokens);
  const std::uint64_t falling[] = {6, 4};
  options.padded_sizes = falling;
  EXPECT_STATUS(status::invalid_argument, gpubuf::slots::create_decode<no_throw>(device, options));
}

TEST_F(SlotsTokens, ThePaddedSizeHasToFit) {
  auto step = slots.begin();
  step.write(ids, test::ramp<std::int32_t>(17));
  EXPECT_STATUS(status::invalid_argument, step.pad_tokens<no_throw>()) << "24 rows, and the slots have 20";
  EXPECT_EQ(0u, slots.stats().padded_rows);
}

TEST_F(SlotsTokens, SlotsAreWrittenByNameToo) {
  auto step = slots.begin();
  slots.write<std::int32_t>(step, "ids", tokens);
  EXPECT_STATUS(status::not_found, slots.write<std::int32_t, no_throw>(step, "nobody", tokens));
  EXPECT_STATUS(status::invalid_argument, slots.write<std::int32_t, no_throw>(step, "mapping", tokens)) << "of another type";
  EXPECT_STATUS(GPUBUF_NOT_FOUND, gpubuf_step_write_named(step.capi(), "nobody", 0, 1, tokens.data()));
  slots.write<std::int64_t>(step, "mapping", places);
  slots.write<std::int32_t>(step, "lengths", one);
  step.commit(stream);
  EXPECT_EQ(tokens, on_device(ids, 5));
}

TEST_F(SlotsTokens, AreListedForACapture) {
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < slots.count(); ++i) {
    const gpubuf::slot<std::byte> each{i, 0, 0};
    const auto about = slots.info(each);
    names.push_back(slots.name(each));
    EXPECT_EQ(1u, about.rank);
    EXPECT_EQ(about.rows, about.shape[0]);
    EXPECT_EQ(about.bytes, about.rows * about.row_bytes);
    EXPECT_NE(0u, about.device_address);
    EXPECT_EQ(i, slots.find(names.back().c_str()).index);
  }
  EXPECT_EQ((std::vector<std::string>{"ids", "mapping", "lengths"}), names);
  EXPECT_STATUS(status::not_found, slots.name<no_throw>(gpubuf::slot<std::byte>{3, 0, 0}));
  EXPECT_STATUS(status::not_found, slots.find<std::byte, no_throw>("nobody"));
  char cut[4];
  std::size_t length = 0;
  EXPECT_OK(gpubuf_slots_slot_name(slots.capi(), 1, cut, sizeof cut, &length));
  EXPECT_STREQ("map", cut);
  EXPECT_EQ(std::strlen("mapping"), length);
}

TEST_F(SlotsTokens, StepsBeingFilledAreGivenUpTogether) {
  auto committed = slots.begin();
  committed.write_many({{ids, tokens}, {mapping, places}, {lengths, one}});
  committed.commit(stream);
  stream.synchronize();
  auto filling = slots.begin(no_wait);
  gpubuf_step* raw = filling.capi();
  EXPECT_EQ(1u, slots.abort_all());
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_step_abort(raw));
  EXPECT_EQ(0u, slots.abort_all());
  EXPECT_OK(committed.retire<no_throw>()) << "what is committed stays to be retired";
  EXPECT_EQ(1u, slots.stats().steps_aborted);
}
