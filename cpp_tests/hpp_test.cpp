// gpubuf.hpp itself: ownership, the two forms, callbacks, small types. It adds no behaviour of its own.
#include "support.hpp"

#include <atomic>
#include <cstring>
#include <list>
#include <stdexcept>
#include <type_traits>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::status;
using namespace std::chrono_literals;

// ---- What the compiler promises -----------------------------------------------------------------------------------

template <class T>
constexpr bool owns = !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T> && std::is_nothrow_move_constructible_v<T> &&
                      std::is_nothrow_move_assignable_v<T> && std::is_nothrow_destructible_v<T> && std::is_nothrow_default_constructible_v<T> &&
                      !std::is_convertible_v<T, bool>;
static_assert(owns<gpubuf::device> && owns<gpubuf::stream> && owns<gpubuf::event> && owns<gpubuf::buffer> && owns<gpubuf::borrowed_buffer>);
static_assert(owns<gpubuf::pool> && owns<gpubuf::block> && owns<gpubuf::slots> && owns<gpubuf::step>);
static_assert(owns<gpubuf::write_guard<float>> && owns<gpubuf::read_guard<float>> && owns<gpubuf::readback<float>>);
static_assert(!std::is_constructible_v<gpubuf::stream, int> && !std::is_constructible_v<gpubuf::stream, std::nullptr_t>);
static_assert(!std::is_convertible_v<int, gpubuf::stream_list>);
static_assert(std::is_same_v<decltype(std::declval<gpubuf::buffer&>().host_ptr()), const void*>);
static_assert(std::is_base_of_v<gpubuf::error, gpubuf::out_of_memory>);

// A no-throw form is one for the compiler, too.
static_assert(noexcept(std::declval<gpubuf::buffer&>().to_device<no_throw>(std::declval<gpubuf::stream&>())));
static_assert(!noexcept(std::declval<gpubuf::buffer&>().to_device(std::declval<gpubuf::stream&>())));
static_assert(noexcept(gpubuf::device::open<no_throw>()));

static_assert(gpubuf::dtype_of<bool>::value == gpubuf::dtype::boolean);
static_assert(gpubuf::dtype_of<long long>::value == gpubuf::dtype::i64 && gpubuf::dtype_of<long>::value == gpubuf::dtype::i64);
static_assert(gpubuf::dtype_of<unsigned char>::value == gpubuf::dtype::u8);

// A type of the caller's own.
struct half {
  std::uint16_t bits;
};
template <>
struct gpubuf::dtype_of<half> {
  static constexpr gpubuf::dtype value = gpubuf::dtype::f16;
};

class Hpp : public test::Device {};

// ---- Ownership --------------------------------------------------------------------------------------------------

TEST_F(Hpp, AnEmptyOwnerOwnsNothing) {
  gpubuf::buffer buffer;
  EXPECT_FALSE(buffer);
  EXPECT_EQ(nullptr, buffer.capi());
  EXPECT_EQ(nullptr, buffer.release());
  buffer.reset();
  EXPECT_STATUS(status::invalid_argument, buffer.to_device<no_throw>(stream));
  EXPECT_ERROR(status::invalid_argument, buffer.begin_write<float>());
}

TEST_F(Hpp, AMoveLeavesTheSourceEmpty) {
  auto one = gpubuf::event::create(device);
  gpubuf_event* raw = one.capi();
  auto two = std::move(one);
  EXPECT_FALSE(one);  // NOLINT: what a move leaves behind is defined here.
  EXPECT_EQ(raw, two.capi());
  auto three = gpubuf::event::create(device);
  gpubuf_event* replaced = three.capi();
  three = std::move(two);
  EXPECT_EQ(raw, three.capi());
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_event_query(replaced)) << "what it owned before was given back";
  auto& self = three;
  three = std::move(self);
  EXPECT_EQ(raw, three.capi());
}

TEST_F(Hpp, AHandleIsTakenOverAndGivenUp) {
  gpubuf_event* raw = nullptr;
  ASSERT_OK(gpubuf_event_create(device.capi(), &raw));
  {
    auto event = gpubuf::event::adopt(raw);
    EXPECT_EQ(raw, event.release());
  }
  EXPECT_OK(gpubuf_event_query(raw));
  gpubuf::event::adopt(raw).reset();
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_event_query(raw));
}

TEST_F(Hpp, OwnersLiveInContainers) {
  std::vector<gpubuf::stream> streams;
  for (int i = 0; i < 10; ++i) streams.push_back(gpubuf::stream::create(device));
  streams.erase(streams.begin());
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  EXPECT_OK(buffer.device_address<no_throw>(gpubuf::span<const gpubuf::stream>(streams.data(), 8)));
}

TEST_F(Hpp, StreamListsAreWrittenManyWays) {
  const auto other = gpubuf::stream::create(device);
  EXPECT_EQ(0u, gpubuf::stream_list().size());
  EXPECT_EQ(1u, gpubuf::stream_list(stream).size());
  const gpubuf::stream_list two = {stream, other};
  ASSERT_EQ(2u, two.size());
  EXPECT_EQ(stream.capi(), two.capi()[0]);
  EXPECT_EQ(other.capi(), two.capi()[1]);
  std::vector<gpubuf::stream> streams(12);
  const gpubuf::stream_list many = streams;
  EXPECT_EQ(12u, many.size());
  const gpubuf::stream_list nine(gpubuf::span<const gpubuf::stream>(streams).subspan(0, 9));
  EXPECT_EQ(9u, nine.size());
}

// ---- The two forms ----------------------------------------------------------------------------------------------

TEST_F(Hpp, OneNameTwoForms) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  EXPECT_STATUS(status::invalid_argument, buffer.to_device<no_throw>(stream, 9, 9));
  EXPECT_ERROR(status::invalid_argument, buffer.to_device(stream, 9, 9));

  auto made = gpubuf::buffer::create<float, no_throw>(device, {4});
  ASSERT_TRUE(made);
  EXPECT_TRUE(*made);
  EXPECT_EQ(4u, made->info().count);
  gpubuf::buffer taken = std::move(made).value();
  EXPECT_TRUE(taken);

  auto refused = gpubuf::buffer::create<float, no_throw>(gpubuf::device(), {4});
  EXPECT_FALSE(refused.ok());
  EXPECT_FALSE(*refused) << "an empty owner";
  EXPECT_ERROR(status::invalid_argument, std::move(refused).value());
}

TEST_F(Hpp, ErrorsSayStatusAndMessage) {
  try {
    gpubuf::device().drain();
    FAIL() << "threw nothing";
  } catch (const std::runtime_error& e) {
    const std::string what = e.what();
    EXPECT_EQ(0u, what.find("GPUBUF_INVALID_ARGUMENT: ")) << what;
    EXPECT_GT(what.size(), std::strlen("GPUBUF_INVALID_ARGUMENT: "));
  }
  EXPECT_STREQ("GPUBUF_BUSY: because", gpubuf::error(status::busy, "because").what());
  EXPECT_STREQ("GPUBUF_BUSY", gpubuf::error(status::busy, "").what());
  for (const status s : {status::budget, status::out_of_host_memory, status::out_of_device_memory}) EXPECT_THROW(gpubuf::raise(s, ""), gpubuf::out_of_memory);
}

/// What the throwing form says.
template <class F>
std::string said(F&& f) {
  try {
    f();
  } catch (const gpubuf::error& e) {
    return e.what();
  }
  return "threw nothing";
}

TEST_F(Hpp, ARefusalOfTheHeaderItselfSaysWhy) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  const std::string types = "GPUBUF_INVALID_ARGUMENT: the elements are f32, asked for as f64";
  EXPECT_EQ(types, said([&] { static_cast<void>(buffer.begin_write<double>()); }));
  EXPECT_EQ(types, said([&] { buffer.copy_in(std::vector<double>(1)); }));
  EXPECT_EQ(types, said([&] { buffer.fill_host(1.0); }));
  EXPECT_EQ("GPUBUF_INVALID_ARGUMENT: 6 bytes are no whole number of elements of f32",
            said([&] { buffer.copy_in(std::vector<std::byte>(6)); }));

  auto slots = gpubuf::slots::create(device);
  const auto slot = slots.add<std::int32_t>("x", {4, 3});
  slots.freeze();
  EXPECT_EQ("GPUBUF_INVALID_ARGUMENT: the elements are i32, asked for as i64",
            said([&] { static_cast<void>(slots.find<std::int64_t>("x")); }));
  EXPECT_EQ("GPUBUF_INVALID_ARGUMENT: the elements are i32, asked for as i64",
            said([&, step = slots.begin()]() mutable { slots.write<std::int64_t>(step, "x", std::vector<std::int64_t>(3)); }));
  const std::string nobody = "GPUBUF_INVALID_ARGUMENT: no stream in the list";
  EXPECT_EQ(0u, said([&] { static_cast<void>(buffer.device_view(gpubuf::stream_list())); }).find(nobody));
  auto view = buffer.device_view<no_throw>(gpubuf::stream_list());
  EXPECT_EQ(0u, said([&] { static_cast<void>(std::move(view).value()); }).find(nobody));
  auto step = slots.begin();
  EXPECT_EQ("GPUBUF_INVALID_ARGUMENT: 7 values are no whole number of rows of 3", said([&] { step.write(slot, std::vector<std::int32_t>(7)); }));

  auto guard = buffer.begin_write<float>();
  guard.end();
  EXPECT_NE(std::string::npos, said([&] { guard.end(); }).find("ended before"));
}

TEST_F(Hpp, ARefusalOfTheHeaderLeavesTheLibrarysMessage) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  EXPECT_STATUS(status::invalid_argument, buffer.to_device<no_throw>(stream, 9, 9));
  const std::string before = gpubuf::last_error_message();
  auto refused = buffer.begin_write<double, no_throw>();
  EXPECT_EQ(before, gpubuf::last_error_message());
  EXPECT_NE(std::string::npos, said([&] { static_cast<void>(std::move(refused).value()); }).find("f64")) << "value() has the header's own";
}

TEST_F(Hpp, ARefusalOfTheLibraryInsideTheHeaderKeepsItsMessage) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  gpubuf_buffer* gone = buffer.capi();
  buffer.reset();
  auto stale = gpubuf::buffer::adopt(gone);
  const std::string what = said([&] { stale.copy_in(std::vector<float>(4)); });
  EXPECT_EQ(0u, what.find("GPUBUF_STALE_HANDLE: ")) << what;
  EXPECT_EQ("GPUBUF_STALE_HANDLE: " + gpubuf::last_error_message(), what);
  static_cast<void>(stale.release());
}

TEST(Versions, AgreeOnTheMinorWhileTheMajorIsZero) {
  using gpubuf::detail::version_agrees;
  EXPECT_TRUE(version_agrees(1000, 1000));
  EXPECT_TRUE(version_agrees(1000, 1007)) << "a later patch";
  EXPECT_FALSE(version_agrees(1000, 2000));
  EXPECT_FALSE(version_agrees(1000, 1001000));
  EXPECT_TRUE(version_agrees(1002000, 1003004)) << "from 1.0 on the major decides";
  EXPECT_FALSE(version_agrees(1002000, 2002000));
}

// ---- Timeouts ---------------------------------------------------------------------------------------------------

TEST(Timeouts, ComeFromDurations) {
  const auto ns = [](gpubuf::timeout t) { return t.capi(); };
  EXPECT_EQ(5000000u, ns(5ms));
  EXPECT_EQ(2000000000u, ns(2s));
  EXPECT_EQ(1500000u, ns(std::chrono::duration<double, std::milli>(1.5)));
  EXPECT_EQ(static_cast<std::uint64_t>(GPUBUF_TIMEOUT_TRY), ns(0s));
  EXPECT_EQ(static_cast<std::uint64_t>(GPUBUF_TIMEOUT_TRY), ns(-1s)) << "a deadline that is over";
  EXPECT_EQ(static_cast<std::uint64_t>(GPUBUF_TIMEOUT_INFINITE), ns(std::chrono::hours::max()));
  EXPECT_EQ(static_cast<std::uint64_t>(GPUBUF_TIMEOUT_INFINITE), ns(std::chrono::nanoseconds::max()));
  EXPECT_EQ(static_cast<std::uint64_t>(GPUBUF_TIMEOUT_TRY), ns(no_wait));
  EXPECT_EQ(static_cast<std::uint64_t>(GPUBUF_TIMEOUT_DEFAULT), ns(gpubuf::timeout_default));
  EXPECT_EQ(static_cast<std::uint64_t>(GPUBUF_TIMEOUT_INFINITE), ns(gpubuf::timeout_infinite));
  static_assert(!std::is_convertible_v<int, gpubuf::timeout>, "a number has no unit");
}

// ---- Spans and guards -------------------------------------------------------------------------------------------

TEST(Spans, ViewWhatLiesInARow) {
  std::vector<int> values = {1, 2, 3, 4};
  const gpubuf::span<int> all = values;
  EXPECT_EQ(4u, all.size());
  EXPECT_EQ(10, std::accumulate(all.begin(), all.end(), 0));
  const gpubuf::span<const int> view = all;
  EXPECT_EQ(values.data(), view.data());
  EXPECT_EQ(3, all.subspan(2)[0]);
  EXPECT_EQ(1u, all.subspan(2, 1).size());
  EXPECT_TRUE(all.subspan(9).empty());
  const int array[] = {1, 2};
  EXPECT_EQ(2u, gpubuf::span<const int>(array).size());
  static_assert(!std::is_constructible_v<gpubuf::span<int>, const std::vector<int>&>, "const stays const");
  static_assert(!std::is_constructible_v<gpubuf::span<int>, std::list<int>&>);
}

TEST_F(Hpp, AGuardEndsWithItsScope) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  {
    auto one = buffer.begin_write<float>();
    auto two = std::move(one);
    EXPECT_FALSE(one);  // NOLINT
    EXPECT_EQ(0u, one.size());
    EXPECT_TRUE(two);
    EXPECT_STATUS(status::busy, buffer.to_device<no_throw>(stream));
  }
  EXPECT_OK(buffer.to_device<no_throw>(stream));
}

TEST_F(Hpp, AGuardMayOutliveItsBuffer) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  auto guard = buffer.begin_write<float>();
  auto other = buffer.begin_read<float, no_throw>();
  buffer.reset();
  EXPECT_STATUS(status::stale_handle, guard.end<no_throw>());
}

TEST_F(Hpp, TypesOfTheCallersOwnAreElements) {
  auto buffer = gpubuf::buffer::create<half>(device, {2, 2});
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_DTYPE_F16), buffer.info().dtype);
  buffer.fill(half{0x3c00}, stream);
  EXPECT_EQ(0x3c00, buffer.begin_read<half>()[3].bits);
  EXPECT_STATUS(status::invalid_argument, buffer.begin_read<std::uint16_t, no_throw>());
}

TEST_F(Hpp, AnyRowOfElementsIsCopied) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  buffer.copy_in(std::array<std::int32_t, 2>{1, 2});
  const std::int32_t more[] = {3, 4};
  buffer.copy_in(more, 2);
  std::array<std::int32_t, 4> got{};
  buffer.copy_out(got);
  EXPECT_EQ((std::array<std::int32_t, 4>{1, 2, 3, 4}), got);
  std::int32_t last[1] = {};
  buffer.copy_out(last, 3);
  EXPECT_EQ(4, last[0]);
}

// ---- Callbacks --------------------------------------------------------------------------------------------------

struct Counted {
  static inline std::atomic<int> alive{0};
  Counted() { ++alive; }
  Counted(const Counted&) { ++alive; }
  ~Counted() { --alive; }
};

TEST_F(Hpp, AStreamFunctionThatThrowsIsDroppedAndCounted) {
  const auto before = gpubuf::dropped_exceptions();
  gpubuf::host::call(stream, [](gpubuf::host::view&) { throw std::runtime_error("lost"); });
  EXPECT_OK(stream.synchronize<no_throw>()) << "the stream goes on";
  EXPECT_EQ(before + 1, gpubuf::dropped_exceptions());
}

TEST_F(Hpp, AStreamFunctionIsKeptUntilItRan) {
  {
    auto shut = gpubuf::host::hold(stream);
    gpubuf::host::call(stream, [counted = Counted()](gpubuf::host::view&) { EXPECT_GE(Counted::alive, 1); });
    EXPECT_EQ(1, Counted::alive);
  }
  stream.synchronize();
  EXPECT_EQ(0, Counted::alive);
}

TEST_F(Hpp, AStreamFunctionMayBeMoveOnly) {
  auto number = std::make_unique<int>(7);
  int seen = 0;
  gpubuf::host::call(stream, [&seen, number = std::move(number)](gpubuf::host::view&) { seen = *number; });
  stream.synchronize();
  EXPECT_EQ(7, seen);
}

TEST_F(Hpp, AReleaseFunctionIsKeptUntilItRanAndMayThrow) {
  std::vector<float> memory(4);
  const auto before = gpubuf::dropped_exceptions();
  {
    auto buffer = gpubuf::borrowed_buffer::over<float>(device, memory, [counted = Counted()] { throw std::runtime_error("lost"); });
    EXPECT_EQ(1, Counted::alive);
    auto moved = std::move(buffer);
  }
  device.drain();
  EXPECT_EQ(0, Counted::alive);
  EXPECT_EQ(before + 1, gpubuf::dropped_exceptions());
}

TEST_F(Hpp, AReleaseFunctionIsDroppedByDetachAndByARefusedCreate) {
  std::vector<float> memory(4);
  auto buffer = gpubuf::borrowed_buffer::over<float>(device, memory, [counted = Counted()] {});
  EXPECT_STATUS(status::exists, gpubuf::borrowed_buffer::over<float, no_throw>(device, memory, [counted = Counted()] {}));
  EXPECT_EQ(1, Counted::alive);
  buffer.detach();
  EXPECT_EQ(0, Counted::alive);
}

TEST_F(Hpp, ABorrowedBufferIsABuffer) {
  std::vector<float> memory(4);
  int told = 0;
  gpubuf::buffer buffer = gpubuf::borrowed_buffer::over<float>(device, memory, [&] { ++told; });
  EXPECT_EQ(1u, buffer.info().borrowed);
  buffer.reset();
  device.drain();
  EXPECT_EQ(1, told);
}

TEST_F(Hpp, TheLogGoesToAFunction) {
  std::vector<std::string> lines;
  gpubuf::set_log([&](gpubuf::log_level, const char* message) { lines.emplace_back(message); });
  gpubuf_event* old = gpubuf::event::create(device).release();
  EXPECT_OK(gpubuf_event_destroy(old));
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_event_destroy(old));  // Worth a warning.
  gpubuf::set_log(nullptr);
  EXPECT_FALSE(lines.empty());
  const auto count = lines.size();
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_event_destroy(old));
  EXPECT_EQ(count, lines.size()) << "silent again";
}

TEST_F(Hpp, ALogFunctionMayThrowAndMayReplaceItself) {
  const auto before = gpubuf::dropped_exceptions();
  gpubuf_event* old = gpubuf::event::create(device).release();
  EXPECT_OK(gpubuf_event_destroy(old));
  gpubuf::set_log([](gpubuf::log_level, const char*) {
    gpubuf::set_log(nullptr);
    throw std::runtime_error("lost");
  });
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_event_destroy(old));
  EXPECT_EQ(before + 1, gpubuf::dropped_exceptions());
}

TEST_F(Hpp, EveryOwnerIsDescribed) {
  const auto event = gpubuf::event::create(device);
  const auto buffer = gpubuf::buffer::create<float>(device, {4});
  const auto pool = gpubuf::pool::create(device, 64, 1);
  const auto block = pool.acquire();
  auto slots = gpubuf::slots::create(device);
  static_cast<void>(slots.add<float>("x", {1}));
  slots.freeze();
  const auto step = slots.begin();
  for (const std::string& text : {gpubuf::describe(device), gpubuf::describe(stream), gpubuf::describe(event), gpubuf::describe(buffer), gpubuf::describe(pool),
                                  gpubuf::describe(block), gpubuf::describe(slots), gpubuf::describe(step)}) {
    EXPECT_FALSE(text.empty());
  }
  const std::string longer(2000, 'n');
  gpubuf::set_label(buffer, longer.c_str());
  EXPECT_GT(gpubuf::describe(buffer).size(), 100u);
  EXPECT_ERROR(status::invalid_argument, gpubuf::describe(gpubuf::buffer()));
}

// ---- What does not compile --------------------------------------------------------------------------------------

#define COMPILES(name, ...)                              \
  template <class T, class = void>                       \
  struct name : std::false_type {};                      \
  template <class T>                                     \
  struct name<T, std::void_t<decltype(__VA_ARGS__)>> : std::true_type {}

COMPILES(has_data, std::declval<T>().data());
COMPILES(has_span, std::declval<T>().span());
COMPILES(has_wait, std::declval<T>().wait());
COMPILES(has_quiet_wait, std::declval<T>().template wait<no_throw>());
COMPILES(has_arrow, std::declval<T>().operator->());
COMPILES(has_address, std::declval<T>().device_address());
COMPILES(has_address_of_braces, std::declval<T>().device_address({}));
COMPILES(has_unnamed_address, std::declval<T>().device_address(gpubuf::unnamed));
COMPILES(has_named_address, std::declval<T>().device_address(std::declval<const gpubuf::stream&>()));
COMPILES(lends, gpubuf::borrowed_buffer::over<float>(std::declval<const gpubuf::device&>(), std::declval<T>()));
COMPILES(lends_quietly, gpubuf::borrowed_buffer::over<float, no_throw>(std::declval<const gpubuf::device&>(), std::declval<T>()));

// What would be read as the value is asked by name.
static_assert(!std::is_constructible_v<bool, gpubuf::result<bool>>);
static_assert(!std::is_constructible_v<bool, decltype(std::declval<gpubuf::stream&>().is_idle<no_throw>())>);
static_assert(!std::is_constructible_v<bool, decltype(std::declval<gpubuf::event&>().is_complete<no_throw>())>);
static_assert(std::is_constructible_v<bool, gpubuf::result<int>> && !std::is_convertible_v<gpubuf::result<int>, bool>);
static_assert(has_arrow<gpubuf::result<int>&>::value && has_arrow<const gpubuf::result<int>&>::value);
static_assert(!has_arrow<gpubuf::result<int>>::value, "nobody can have looked at its status");

// What would outlive its guard. Also what a loop over begin_write<T>().span() would do.
using writing = gpubuf::write_guard<int>;
using reading = gpubuf::read_guard<int>;
static_assert(has_data<writing&>::value && has_data<const writing&>::value && has_span<writing&>::value && has_span<const reading&>::value);
static_assert(!has_data<writing>::value && !has_span<writing>::value && !has_data<reading>::value && !has_span<reading>::value);
static_assert(!has_span<const writing>::value && !has_data<const reading>::value);
static_assert(!has_span<decltype(*std::declval<gpubuf::result<writing>>())>::value, "nor through a result that is a temporary");
static_assert(has_span<decltype(*std::declval<gpubuf::result<writing>&>())>::value);
static_assert(has_wait<gpubuf::readback<int>&>::value && has_quiet_wait<gpubuf::readback<int>&>::value);
static_assert(!has_wait<gpubuf::readback<int>>::value && !has_quiet_wait<gpubuf::readback<int>>::value);

// What would seal without a word.
static_assert(!has_address<gpubuf::buffer&>::value && !has_address_of_braces<gpubuf::buffer&>::value);
static_assert(has_named_address<gpubuf::buffer&>::value && has_unnamed_address<gpubuf::buffer&>::value);

// What would lend memory that is gone at the semicolon.
static_assert(lends<std::vector<float>&>::value && lends<gpubuf::span<float>>::value && lends<gpubuf::span<float>&>::value);
static_assert(lends<std::array<float, 4>&>::value && lends<float (&)[4]>::value && lends_quietly<std::vector<float>&>::value);
static_assert(!lends<std::vector<float>>::value && !lends_quietly<std::vector<float>>::value && !lends<std::array<float, 4>>::value);

static_assert(sizeof(gpubuf::device) == sizeof(void*) && sizeof(gpubuf::step) <= sizeof(void*) + sizeof(gpubuf::ticket));
static_assert(noexcept(gpubuf::release_after<no_throw>(std::declval<gpubuf::span<gpubuf::block>>(), std::declval<const gpubuf::stream_list&>())));

TEST(Traps, AResultIsReadThroughConstAndMovedFromAsATemporary) {
  const gpubuf::result<int> five(status::ok, 5);
  EXPECT_EQ(5, *five);
  const gpubuf::result<std::string> text(status::ok, "text");
  EXPECT_EQ(4u, text->size());
  EXPECT_EQ("moved", *gpubuf::result<std::string>(status::ok, "moved"));
  const gpubuf::result<bool> no(status::ok, false);
  EXPECT_TRUE(no.ok());
  EXPECT_FALSE(*no);
}

TEST_F(Hpp, AnAddressNeedsAStreamOrTheWordThatThereIsNone) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  EXPECT_STATUS(status::invalid_argument, buffer.device_address<no_throw>(std::vector<gpubuf::stream>()));
  EXPECT_NE(std::string::npos, said([&] { static_cast<void>(buffer.device_address(gpubuf::stream_list())); }).find("gpubuf::unnamed"));
  EXPECT_OK(buffer.to_device<no_throw>(stream)) << "a refusal seals nothing";
  const auto named = buffer.device_address(stream);
  EXPECT_EQ(named, buffer.device_address({stream, stream}));
  EXPECT_OK(buffer.to_device<no_throw>(stream)) << "a named stream does not seal";
  EXPECT_EQ(named, buffer.device_address(gpubuf::unnamed));
  EXPECT_STATUS(status::unfenced, buffer.to_device<no_throw>(stream));
}

TEST_F(Hpp, ANegativeDurationIsNone) {
  EXPECT_OK(gpubuf::host::delay<no_throw>(stream, -1h));
  EXPECT_OK(gpubuf::host::set_delay<no_throw>(device, -1ns, 0, -1ns));
  EXPECT_OK(gpubuf::host::set_link<no_throw>(device, -1ns, 0));
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  EXPECT_OK(buffer.to_device_blocking<no_throw>(stream, 10s));
}

// ---- Steps ------------------------------------------------------------------------------------------------------

class HppStep : public Hpp {
 protected:
  gpubuf::step committed() {
    auto step = slots.begin();
    step.write(slot, {1, 2, 3, 4});
    static_cast<void>(step.commit(stream));
    return step;
  }
  void SetUp() override { slots.freeze(); }
  gpubuf::slots slots = gpubuf::slots::create(device);
  gpubuf::slot<std::int32_t> slot = slots.add<std::int32_t>("x", {4});
};

TEST_F(HppStep, AMoveLeavesItEmpty) {
  auto step = committed();
  const auto ticket = step.id();
  EXPECT_NE(gpubuf::ticket{}, ticket);
  auto moved = std::move(step);
  EXPECT_FALSE(step);  // NOLINT
  EXPECT_EQ(gpubuf::ticket{}, step.id());
  EXPECT_EQ(ticket, moved.id());
  for (const status s : {step.retire<no_throw>(), step.abort<no_throw>(), step.pad<no_throw>(slot, 1), step.write<no_throw>(slot, {1}),
                         step.commit<no_throw>(stream).status(), step.span<no_throw>(slot).status()}) {
    EXPECT_STATUS(status::invalid_argument, s) << "as NULL is";
  }
  EXPECT_OK(moved.retire<no_throw>());
  EXPECT_FALSE(moved);
}

TEST_F(HppStep, AnAdoptedOneRetires) {
  auto step = committed();
  auto adopted = gpubuf::step::adopt(step.release());
  EXPECT_OK(adopted.retire<no_throw>({stream}));
  EXPECT_FALSE(adopted);
  EXPECT_EQ(1u, slots.stats().steps_retired);
  auto next = committed();
  EXPECT_OK(next.retire<no_throw>()) << "the ring goes on";
}

TEST_F(HppStep, OneThatWasRetiredByItsTicketEndsSilently) {
  std::atomic<int> lines{0};
  gpubuf::set_log([&](gpubuf::log_level level, const char*) { lines += level >= gpubuf::log_level::warn ? 1 : 0; });
  const auto stale = device.stats().stale_handles;
  {
    auto step = committed();
    slots.retire(step.id());
  }
  EXPECT_EQ(stale, device.stats().stale_handles);
  EXPECT_EQ(0, lines);
  {
    auto step = committed();
    slots.retire(step.id());
    EXPECT_STATUS(status::stale_handle, step.retire<no_throw>()) << "who asks is told";
  }
  gpubuf::set_log(nullptr);
  EXPECT_EQ(2u, slots.stats().steps_retired);
}

TEST_F(HppStep, ItsEndFencesTheDeclaredConsumersAndRetireTheStreamsItNames) {
  auto undeclared = gpubuf::stream::create(device);
  auto shut = gpubuf::host::hold(undeclared);
  committed().reset();
  committed().reset();  // Not held up: nobody named the stream.
  EXPECT_OK(stream.synchronize<no_throw>());
  auto step = committed();
  step.retire({undeclared});
  committed().reset();
  EXPECT_FALSE(stream.is_idle()) << "the next copy waits for the stream that retire named";
  shut.release();
  EXPECT_OK(stream.synchronize<no_throw>());
}

TEST_F(HppStep, AReadBackEndsOnce) {
  auto step = committed();
  auto back = slots.read_back(step.id(), slot, stream);
  step.retire();
  EXPECT_EQ(4u, back.wait().size());
  back.end();
  EXPECT_FALSE(back);
  EXPECT_STATUS(status::not_begun, back.end<no_throw>());
  EXPECT_STATUS(status::not_begun, back.wait<no_throw>());
  EXPECT_NE(std::string::npos, said([&] { back.end(); }).find("ended before"));
  EXPECT_STATUS(status::not_begun, gpubuf::readback<int>().end<no_throw>());
}
