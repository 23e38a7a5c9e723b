// The workspace: one buffer for one name, and buffers by spec that go from one holder to the next.
#include "support.hpp"

#include <unordered_map>

using gpubuf::entry_state;
using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::placement;
using gpubuf::spec;
using gpubuf::status;

// ---- Specs ------------------------------------------------------------------------------------------------------

TEST(Specs, AreValues) {
  const auto floats = spec::of<float>({4, 8});
  EXPECT_EQ(floats, spec(gpubuf::dtype::f32, {4, 8}));
  EXPECT_NE(floats, spec::of<std::int32_t>({4, 8}));
  EXPECT_NE(floats, spec::of<float>({8, 4}));
  EXPECT_NE(floats, spec::of<float>({32}));
  EXPECT_NE(floats, spec::of<float>({4, 8}, placement::uva, placement::none));
  std::unordered_map<spec, int> counts;
  ++counts[floats];
  ++counts[spec::of<float>({4, 8})];
  ++counts[spec::of<float>({8, 4})];
  EXPECT_EQ(2, counts[floats]);
}

TEST(Specs, CountTheBytesOfBothSides) {
  EXPECT_EQ(128u, spec::of<float>({4, 8}).bytes().host);
  EXPECT_EQ(256u, spec::of<float>({4, 8}).bytes().both());
  EXPECT_EQ(0u, spec::of<float>({4, 8}, placement::uva, placement::none).bytes().device);
  EXPECT_EQ(2u, spec(gpubuf::dtype::bf16, {1}, placement::none).bytes().both());
}

TEST(Specs, RefuseWhatNoBufferCanBe) {
  EXPECT_STATUS(status::invalid_argument, spec(static_cast<gpubuf::dtype>(99), {4}).bytes<no_throw>());
  EXPECT_STATUS(status::invalid_argument, spec::of<float>({4, 0}).bytes<no_throw>());
  EXPECT_STATUS(status::invalid_argument, spec::of<float>({4}, placement::device).bytes<no_throw>());
  EXPECT_STATUS(status::overflow, spec::of<double>({UINT64_MAX}).bytes<no_throw>());
}

TEST(Specs, AreTheSameInC) {
  const auto one = spec::of<float>({4, 8}), other = spec::of<float>({8, 4});
  std::uint32_t equal = 7;
  EXPECT_OK(gpubuf_spec_equal(&one.capi(), &spec(one).capi(), &equal));
  EXPECT_EQ(1u, equal);
  EXPECT_OK(gpubuf_spec_equal(&one.capi(), &other.capi(), &equal));
  EXPECT_EQ(0u, equal);
  gpubuf_spec newer = one.capi();
  newer.reserved = 1;
  EXPECT_STATUS(status::invalid_argument, gpubuf_spec_equal(&one.capi(), &newer, &equal));
}

class Workspaces : public test::Device {
 protected:
  gpubuf::workspace scratch = gpubuf::workspace::create(device);
  gpubuf::workspace limited(std::uint32_t entries, std::uint64_t bytes = 0) {
    gpubuf::workspace_options options;
    options.max_entries = entries;
    options.max_bytes = bytes;
    return gpubuf::workspace::create(device, options);
  }
  // Which memory it is.
  static const void* memory(const gpubuf::buffer& of) { return of.host_ptr(); }
  const spec ints = spec::of<std::int32_t>({16});
};

TEST_F(Workspaces, KnowWhatABufferIs) {
  const auto made = gpubuf::buffer::create<float>(device, {3, 5});
  EXPECT_EQ(spec::of<float>({3, 5}), spec::of(made));
}

// ---- Names ------------------------------------------------------------------------------------------------------

TEST_F(Workspaces, OneNameIsOneBuffer) {
  auto table = scratch.get<std::int32_t>("table", {4, 4});
  table.copy_in(test::ramp<std::int32_t>(16));
  auto again = scratch.get<std::int32_t>("table", {4, 4});
  EXPECT_EQ(memory(table), memory(again)) << "a further handle of the same buffer";
  EXPECT_EQ(7, again.begin_read<std::int32_t>()[7]);
  EXPECT_EQ(memory(table), memory(scratch.find("table")));
  EXPECT_EQ(1u, scratch.stats().made);
}

TEST_F(Workspaces, NamesAreExact) {
  const auto table = scratch.get("table", ints);
  EXPECT_STATUS(status::not_found, scratch.find<no_throw>("tab"));
  EXPECT_STATUS(status::not_found, scratch.find<no_throw>("table2"));
  EXPECT_NE(memory(table), memory(scratch.get("table2", ints)));
  EXPECT_STATUS(status::invalid_argument, scratch.get<no_throw>("", ints));
}

TEST_F(Workspaces, ANameIsOfOneSpec) {
  const auto table = scratch.get("table", ints);
  EXPECT_STATUS(status::exists, scratch.get<no_throw>("table", spec::of<std::int32_t>({17})));
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("its shape is [16], not [17]")) << gpubuf::last_error_message();
  EXPECT_STATUS(status::exists, scratch.get<no_throw>("table", spec::of<float>({16})));
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("its dtype is i32, not f32"));
  EXPECT_STATUS(status::exists, scratch.get<no_throw>("table", spec::of<std::int32_t>({16}, placement::pageable)));
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("its host placement is pinned, not pageable"));
}

TEST_F(Workspaces, ContentStaysUnderItsName) {
  scratch.get("table", ints).copy_in(test::ramp<std::int32_t>(16, 100));
  EXPECT_EQ(115, scratch.find("table").begin_read<std::int32_t>()[15]);
}

TEST_F(Workspaces, AReleasedNameIsFreeForAnotherSpec) {
  const auto old = scratch.get("table", ints);
  scratch.release_name("table");
  const auto renewed = scratch.get("table", spec::of<std::int64_t>({16}));
  EXPECT_NE(memory(old), memory(renewed));
  EXPECT_STATUS(status::not_found, scratch.release_name<no_throw>("tables"));
}

// ---- By spec ----------------------------------------------------------------------------------------------------

TEST_F(Workspaces, BuffersGoFromHolderToHolder) {
  const void* first = nullptr;
  {
    auto one = scratch.allocate(ints);
    const auto two = scratch.allocate(ints);
    EXPECT_NE(memory(one), memory(two)) << "one holder each";
    first = memory(one);
  }
  EXPECT_EQ(2u, scratch.stats().free_entries);
  EXPECT_NE(first, memory(scratch.allocate(spec::of<std::int64_t>({8})))) << "as many bytes, but another spec";
  const auto next = scratch.allocate(ints), last = scratch.allocate(ints);
  EXPECT_TRUE(memory(next) == first || memory(last) == first);
  EXPECT_EQ(2u, scratch.stats().reused);
}

TEST_F(Workspaces, ReuseWaitsForTheWorkOfTheLastHolder) {
  auto one = limited(1);
  auto shut = gpubuf::host::hold(stream);
  {
    auto buffer = one.allocate(ints);
    buffer.to_device(stream);
  }
  EXPECT_STATUS(status::busy, one.allocate<no_throw>(ints, no_wait));
  EXPECT_STATUS(status::would_deadlock, one.allocate<no_throw>(ints));
  shut.release();
  EXPECT_OK(one.allocate<no_throw>(ints));
}

TEST_F(Workspaces, ReuseWaitsForStreamsThatWereNamedWithTheAddress) {
  auto one = limited(1);
  auto shut = gpubuf::host::hold(stream);
  {
    auto buffer = one.allocate(ints);
    static_cast<void>(buffer.device_address(stream));
    gpubuf::host::delay(stream, std::chrono::nanoseconds(1));  // what a kernel would be
  }
  EXPECT_STATUS(status::busy, one.allocate<no_throw>(ints, no_wait)) << "nobody declared the kernel: its stream was named";
  shut.release();
  EXPECT_OK(one.allocate<no_throw>(ints));
}

TEST_F(Workspaces, ZeroedMeansBothSides) {
  {
    auto used = scratch.allocate(ints);
    used.copy_in(test::ramp<std::int32_t>(16, 1));
    used.to_device(stream);
  }
  stream.synchronize();
  auto next = scratch.allocate_zeroed(ints, stream);
  EXPECT_EQ(1u, scratch.stats().reused);
  EXPECT_EQ(std::vector<std::int32_t>(16), test::copy_of(next.begin_read<std::int32_t>()));
  next.copy_in(test::ramp<std::int32_t>(16, 1));
  next.to_host(stream);
  EXPECT_EQ(std::vector<std::int32_t>(16), test::copy_of(next.begin_read<std::int32_t>()));
}

TEST_F(Workspaces, GivingBackTellsWhatADestructorCannot) {
  auto buffer = scratch.allocate(ints);
  static_cast<void>(buffer.device_address(gpubuf::unnamed));
  EXPECT_STATUS(status::unfenced, scratch.give_back<no_throw>(buffer));
  EXPECT_TRUE(buffer) << "it stays where it is refused";
  buffer.used_on(stream, gpubuf::access::read);
  {
    const auto guard = buffer.begin_read<std::int32_t>();
    EXPECT_STATUS(status::busy, scratch.give_back<no_throw>(buffer));
  }
  EXPECT_OK(scratch.give_back<no_throw>(buffer));
  EXPECT_FALSE(buffer);
  EXPECT_EQ(1u, scratch.stats().retired) << "an address went out with no stream named: only a drain frees such memory";
  auto other = gpubuf::buffer::create<float>(device, {4});
  EXPECT_STATUS(status::invalid_argument, scratch.give_back<no_throw>(other)) << "it is from elsewhere";
}

TEST_F(Workspaces, WhatUnseenWorkMayUseIsNotUsedAgain) {
  static_cast<void>(scratch.allocate(ints).device_address(gpubuf::unnamed));
  EXPECT_EQ(0u, scratch.stats().entries);
  EXPECT_EQ(1u, scratch.stats().retired);
}

// ---- Limits -----------------------------------------------------------------------------------------------------

TEST_F(Workspaces, WhatIsFreeLongestMakesRoom) {
  auto two = limited(2);
  static_cast<void>(two.get("a", ints));
  static_cast<void>(two.get("b", ints));
  static_cast<void>(two.find("a"));
  static_cast<void>(two.get("c", ints));
  EXPECT_STATUS(status::not_found, two.find<no_throw>("b"));
  EXPECT_OK(two.find<no_throw>("a"));
  EXPECT_EQ(1u, two.stats().evicted);
}

TEST_F(Workspaces, WhatIsHeldNeverMakesRoom) {
  auto small = limited(0, 300);
  const auto held = small.allocate(ints);  // 128 bytes, on both sides
  const auto more = small.get("more", ints);
  EXPECT_STATUS(status::budget, small.allocate<no_throw>(ints));
  EXPECT_ERROR(status::budget, small.get("other", ints));
  EXPECT_EQ(256u, small.stats().peak_bytes);
  EXPECT_EQ(2u, small.stats().refused);
}

TEST_F(Workspaces, EvictAndClearTakeWhatIsFree) {
  auto kept = scratch.get("kept", ints);
  kept.copy_in(test::ramp<std::int32_t>(16));
  for (const char* name : {"a", "b", "c"}) static_cast<void>(scratch.get(name, ints));
  EXPECT_EQ(1u, scratch.evict(3));
  EXPECT_STATUS(status::not_found, scratch.find<no_throw>("a"));
  const auto gone = scratch.clear();
  EXPECT_EQ(2u, gone.gone);
  EXPECT_EQ(1u, gone.kept);
  EXPECT_EQ(15, kept.begin_read<std::int32_t>()[15]);
}

// ---- Looking ----------------------------------------------------------------------------------------------------

TEST_F(Workspaces, TheListSaysWhatIsTheCase) {
  const auto held = scratch.get("held", ints);
  auto copied = scratch.allocate(spec::of<float>({4}));
  static_cast<void>(scratch.get("free", ints));
  auto shut = gpubuf::host::hold(stream);
  copied.to_device(stream);
  const auto list = scratch.list();
  ASSERT_EQ(3u, list.size());
  EXPECT_EQ("held", list[0].name);
  EXPECT_EQ(ints, list[0].spec);
  EXPECT_EQ(entry_state::allocated, list[0].state);
  EXPECT_EQ("", list[1].name);
  EXPECT_EQ(entry_state::in_use, list[1].state);
  EXPECT_EQ(32u, list[1].bytes);
  EXPECT_EQ(entry_state::free, list[2].state);
  EXPECT_EQ(0u, list[2].holders);
  EXPECT_EQ(1u, list[2].uses);
  shut.release();
  const auto stats = scratch.stats();
  EXPECT_EQ(3u, stats.entries);
  EXPECT_EQ(2u, stats.held_entries);
  EXPECT_EQ(288u, stats.bytes);
  EXPECT_EQ(160u, stats.held_bytes);
}

TEST_F(Workspaces, WhatIsNewerAnywhereIsSynced) {
  auto table = scratch.get("table", ints);
  table.copy_in(test::ramp<std::int32_t>(16));
  EXPECT_EQ(entry_state::staged, scratch.list()[0].state);
  EXPECT_EQ(1u, scratch.sync_all(stream));
  EXPECT_EQ(0u, scratch.sync_all(stream)) << "once is enough";
  stream.synchronize();
  EXPECT_EQ(entry_state::allocated, scratch.list()[0].state);
  table.zero_host();
  table.to_host(stream);
  EXPECT_EQ(15, table.begin_read<std::int32_t>()[15]);
}

TEST_F(Workspaces, ViewsHoldWhatTheyAreOf) {
  auto one = limited(1);
  auto whole = one.allocate(ints);
  auto view = whole.slice(4, 4);
  whole.reset();
  EXPECT_STATUS(status::budget, one.allocate<no_throw>(ints)) << "the view still shows it";
  view.reset();
  EXPECT_OK(one.allocate<no_throw>(ints));
}

TEST_F(Workspaces, ShapesStay) {
  auto buffer = scratch.allocate(ints);
  EXPECT_STATUS(status::unsupported, buffer.resize<no_throw>({8}));
}

TEST_F(Workspaces, BuffersOutliveTheirWorkspace) {
  auto buffer = scratch.get("buffer", ints);
  scratch.reset();
  EXPECT_OK(buffer.copy_in<no_throw>(test::ramp<std::int32_t>(16)));
  EXPECT_OK(buffer.to_device<no_throw>(stream));
}
