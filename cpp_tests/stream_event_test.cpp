// Streams run their work in order; events mark places in them.
#include "support.hpp"

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::status;

class Streams : public test::Device {
 protected:
  gpubuf::stream second = gpubuf::stream::create(device);
  gpubuf::event event = gpubuf::event::create(device);
};

TEST_F(Streams, ANewStreamIsIdle) {
  EXPECT_TRUE(stream.is_idle());
  EXPECT_OK(stream.synchronize<no_throw>(no_wait));
}

TEST_F(Streams, QueuedWorkMakesItBusyUntilItRan) {
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::delay(stream, std::chrono::nanoseconds(1));
  EXPECT_FALSE(stream.is_idle());
  EXPECT_STATUS(GPUBUF_BUSY, gpubuf_stream_query(stream.capi()));
  EXPECT_STATUS(status::busy, stream.synchronize<no_throw>(no_wait));
  shut.release();
  stream.synchronize();
  EXPECT_TRUE(stream.is_idle());
}

TEST_F(Streams, WorkRunsInTheOrderOfTheCalls) {
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) gpubuf::host::call(stream, [&order, i](gpubuf::host::view&) { order.push_back(i); });
  stream.synchronize();
  EXPECT_EQ((std::vector<int>{0, 1, 2, 3, 4}), order);
}

TEST_F(Streams, AnEventThatWasNeverRecordedIsComplete) {
  EXPECT_TRUE(event.is_complete());
  EXPECT_OK(event.wait<no_throw>(no_wait));
}

TEST_F(Streams, AnEventCompletesWithTheWorkBeforeIt) {
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::delay(stream, std::chrono::nanoseconds(1));
  event.record(stream);
  EXPECT_FALSE(event.is_complete());
  EXPECT_STATUS(status::busy, event.wait<no_throw>(no_wait));
  shut.release();
  event.wait();
  EXPECT_TRUE(event.is_complete());
}

TEST_F(Streams, ANewRecordReplacesTheOld) {
  event.record(second);
  event.wait();
  auto shut = gpubuf::host::hold(stream);
  event.record(stream);
  EXPECT_FALSE(event.is_complete());
  shut.release();
  event.wait();
}

TEST_F(Streams, OneStreamWaitsForAnotherOnTheDevice) {
  std::vector<int> order;
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::call(stream, [&](gpubuf::host::view&) { order.push_back(1); });
  event.record(stream);
  second.wait_event(event);
  gpubuf::host::call(second, [&](gpubuf::host::view&) { order.push_back(2); });
  EXPECT_FALSE(second.is_idle());
  shut.release();
  second.synchronize();
  EXPECT_EQ((std::vector<int>{1, 2}), order);
}

TEST_F(Streams, TheWaitIsForTheRecordThatWasThere) {
  second.wait_event(event);  // Never recorded: no wait.
  auto shut = gpubuf::host::hold(stream);
  event.record(stream);
  EXPECT_OK(second.synchronize<no_throw>());
}

TEST_F(Streams, AnEventOutlivesItsStream) {
  event.record(second);
  second.reset();
  EXPECT_OK(event.wait<no_throw>());
}

TEST_F(Streams, DestroyingAStreamWaitsForNothingAndLosesNothing) {
  auto buffer = gpubuf::buffer::create<std::int32_t>(device, {4});
  buffer.copy_in(test::ramp<std::int32_t>(4, 7));
  {
    auto gone = gpubuf::stream::create(device);
    gpubuf::host::delay(gone, std::chrono::milliseconds(1));
    buffer.to_device(gone);
  }
  buffer.zero_host();       // Waits for the copy on the stream that is gone.
  buffer.to_host(stream);   // Comes after it.
  EXPECT_EQ(test::ramp<std::int32_t>(4, 7), test::copy_of(buffer.begin_read<std::int32_t>()));
}

TEST_F(Streams, TimedEventsTellTheTimeBetweenThem) {
  const auto begin = gpubuf::event::create_timed(device), end = gpubuf::event::create_timed(device);
  EXPECT_STATUS(status::not_begun, end.elapsed_since<no_throw>(begin)) << "never recorded";
  begin.record(stream);
  gpubuf::host::delay(stream, std::chrono::milliseconds(2));
  auto shut = gpubuf::host::hold(stream);
  end.record(stream);
  EXPECT_STATUS(status::busy, end.elapsed_since<no_throw>(begin)) << "not reached yet";
  shut.release();
  end.wait();
  EXPECT_GE(end.elapsed_since(begin), std::chrono::milliseconds(2)) << "the device was busy for that long at least";
  event.record(stream);
  event.wait();
  EXPECT_STATUS(status::unsupported, event.elapsed_since<no_throw>(begin)) << "an event costs no time stamp unless it is asked for";
}

TEST_F(Streams, AStreamOfYoursIsWrapped) {
  if (test::backend() == gpubuf::backend::host) GTEST_SKIP() << "the host backend has no native streams";
  void* native = stream.native();  // stands for one that you made
  ASSERT_NE(nullptr, native);
  auto buffer = gpubuf::buffer::create<int>(device, {4});
  {
    const auto wrapped = gpubuf::stream::wrap_native(device, native);
    EXPECT_EQ(native, wrapped.native());
    auto shut = gpubuf::host::hold(stream);
    buffer.to_device(wrapped);
    EXPECT_FALSE(stream.is_idle()) << "it is the same stream";
    EXPECT_STATUS(status::busy, buffer.begin_write<int, no_throw>(gpubuf::no_wait));
  }  // the object goes before the stream; what it queued stays fenced
  buffer.fill_host(7);
  EXPECT_OK(stream.synchronize<no_throw>());
}

TEST_F(Streams, TheHostBackendHasNoNativeStreams) {
  if (test::backend() != gpubuf::backend::host) GTEST_SKIP() << "this backend has";
  int native = 0;
  EXPECT_STATUS(status::unsupported, gpubuf::stream::wrap_native<no_throw>(device, &native));
}

TEST_F(Streams, AWaitFromAStreamFunctionWouldDeadlock) {
  status answer = status::ok;
  auto shut = gpubuf::host::hold(second);
  gpubuf::host::delay(second, std::chrono::nanoseconds(1));
  gpubuf::host::call(stream, [&](gpubuf::host::view&) { answer = second.synchronize<no_throw>(); });
  stream.synchronize();
  EXPECT_STATUS(status::would_deadlock, answer);
}

TEST_F(Streams, AWaitForAStreamThatThisThreadHoldsWouldDeadlock) {
  auto shut = gpubuf::host::hold(stream);
  gpubuf::host::delay(stream, std::chrono::nanoseconds(1));
  EXPECT_STATUS(status::would_deadlock, stream.synchronize<no_throw>());
  event.record(stream);
  EXPECT_STATUS(status::would_deadlock, event.wait<no_throw>());
}
