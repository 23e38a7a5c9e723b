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

class Hpp : public test::HostDevice {};

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

TEST_F(Hpp, ARefusalOfTheWrapperItselfSaysWhy) {
  auto buffer = gpubuf::buffer::create<float>(device, {4});
  try {
    static_cast<void>(buffer.begin_write<double>());
    FAIL() << "threw nothing";
  } catch (const gpubuf::error& e) {
    EXPECT_NE(nullptr, std::strstr(e.what(), "another type")) << e.what();
  }
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

// What would read as the value, or outlive its guard, does not compile.
template <class T, class = void>
struct has_data : std::false_type {};
template <class T>
struct has_data<T, std::void_t<decltype(std::declval<T>().data())>> : std::true_type {};

TEST(Traps, DoNotCompile) {
  static_assert(!std::is_constructible_v<bool, gpubuf::result<bool>>);
  static_assert(std::is_constructible_v<bool, gpubuf::result<int>>);
  static_assert(has_data<gpubuf::write_guard<int>&>::value);
  static_assert(!has_data<gpubuf::write_guard<int>>::value);
  const gpubuf::result<int> five(gpubuf::status::ok, 5);
  EXPECT_EQ(5, *five);
}

TEST(Traps, AMovedFromStepIsEmpty) {
  auto device = gpubuf::device::open(gpubuf::backend::host);
  auto stream = gpubuf::stream::create(device);
  auto slots = gpubuf::slots::create(device);
  auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  slot = slots.find<std::int32_t>("x");
  auto step = slots.begin();
  step.write(slot, {1, 2, 3, 4});
  const gpubuf::ticket ticket = step.commit(stream);
  auto moved = std::move(step);
  EXPECT_STATUS(gpubuf::status::invalid_argument, step.retire<gpubuf::no_throw>());
  slots.retire(ticket);
  const auto stale = device.stats().stale_handles;
  EXPECT_STATUS(gpubuf::status::stale_handle, moved.retire<gpubuf::no_throw>()) << "retired by its ticket";
  moved.reset();
  EXPECT_EQ(stale + 1, device.stats().stale_handles) << "the end of the scope is no mistake";
}
