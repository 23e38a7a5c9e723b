// Graphs: copies and kernels that are captured once and replayed, over memory that the CPU refills in between.
#include "support.hpp"

using gpubuf::graph_hold;
using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::placement;
using gpubuf::status;
namespace host = gpubuf::host;

class Graphs : public test::Device {
 protected:
  gpubuf::stream second = gpubuf::stream::create(device);
  gpubuf::buffer inputs = gpubuf::buffer::create<std::int32_t>(device, {64});
  graph_hold hold = graph_hold::create(device);

  /// A graph that brings the inputs to the device, tied to the hold.
  host::graph capture_inputs() {
    hold.add(inputs);
    host::begin_capture(stream);
    inputs.capture_to_device(hold, stream);
    auto graph = host::end_capture(device, stream);
    hold.set_graph(graph.executable());
    return graph;
  }
  std::vector<std::int32_t> on_device() {
    std::vector<std::int32_t> seen(64, -1);
    const auto at = inputs.device_address({stream});
    host::call(stream, [&, at](host::view& memory) { memory.read(at, seen.data(), 256); });
    stream.synchronize();
    return seen;
  }
};

TEST_F(Graphs, EachLaunchSendsWhatTheHostSideHoldsThen) {
  hold.add(inputs);  // Before the capture: from here on its memory stays where it is.

  host::begin_capture(stream);
  inputs.capture_to_device(hold, stream);  // A node, not a copy: nothing has run.
  const auto graph = host::end_capture(device, stream);

  // Anybody could launch it now, so the buffer is sealed ...
  EXPECT_STATUS(status::unfenced, inputs.copy_in<no_throw>(std::vector<std::int32_t>(64)));
  hold.set_graph(graph.executable());  // ... until it is said that the hold alone does.

  for (std::int32_t n = 0; n < 3; ++n) {
    inputs.copy_in(test::ramp<std::int32_t>(64, n));  // Waits for the replay that still reads.
    hold.launch(stream);
  }
  EXPECT_EQ(test::ramp<std::int32_t>(64, 2), on_device());
  EXPECT_EQ(0u, device.stats().copies) << "the graph's copies are no copies of the library's";
}

TEST_F(Graphs, ARefillWaitsForTheReplay) {
  const auto graph = capture_inputs();
  inputs.copy_in(test::ramp<std::int32_t>(64, 1));
  auto shut = host::hold(stream);
  hold.launch(stream);
  EXPECT_STATUS(status::busy, inputs.copy_in<no_throw>(std::vector<std::int32_t>(64), 0, no_wait));
  EXPECT_OK(inputs.begin_read<std::int32_t, no_throw>(no_wait)) << "the replay only reads it";
  shut.release();
  inputs.copy_in(std::vector<std::int32_t>(64));
  EXPECT_EQ(test::ramp<std::int32_t>(64, 1), on_device());
}

TEST_F(Graphs, WhatAReplayBringsBackIsReadAfterIt) {
  hold.add(inputs);
  host::begin_capture(stream);
  inputs.capture_to_host(hold, stream, 0, 32);
  const auto graph = host::end_capture(device, stream);
  hold.set_graph(graph.executable());
  inputs.fill(std::int32_t{7}, stream, gpubuf::side::device);
  auto shut = host::hold(stream);
  hold.launch(stream);
  EXPECT_STATUS(status::busy, inputs.begin_read<std::int32_t, no_throw>(31, 1, no_wait));
  EXPECT_OK(inputs.begin_read<std::int32_t, no_throw>(32, 32, no_wait)) << "other elements are not written";
  shut.release();
  EXPECT_EQ(7, inputs.begin_read<std::int32_t>()[31]);
}

TEST_F(Graphs, KernelsThatReadABlockInPlace) {
  auto pool = gpubuf::pool::create(device, 256, 1, placement::uva);
  auto block = pool.acquire();
  hold.add(block);
  const auto at = block.device_address();  // Seals the block, as without a graph.
  std::vector<std::int32_t> seen(64);
  auto kernel = [&, at](host::view& memory) { memory.read(at, seen.data(), 256); };
  host::begin_capture(stream);
  host::capture_call(stream, kernel);
  auto graph = host::end_capture(device, stream);
  hold.set_graph(graph.executable());

  for (std::int32_t n = 0; n < 3; ++n) {
    block.copy_in(test::ramp<std::int32_t>(64, n));
    hold.launch(stream);
  }
  stream.synchronize();
  EXPECT_EQ(test::ramp<std::int32_t>(64, 2), seen);

  EXPECT_STATUS(status::graph_held, block.give_back<no_throw>());
  graph.reset();
  hold.reset();
  EXPECT_OK(block.give_back<no_throw>());
}

TEST_F(Graphs, KernelsThatReadSlots) {
  auto slots = gpubuf::slots::create(device);
  const auto ids = slots.add<std::int32_t>("ids", {64});
  EXPECT_STATUS(status::frozen, hold.add<no_throw>(slots));
  slots.freeze();
  hold.add(slots);
  const auto at = slots.device_address(ids);
  std::vector<std::int32_t> seen(64);
  auto kernel = [&, at](host::view& memory) { memory.read(at, seen.data(), 256); };
  host::begin_capture(stream);
  host::capture_call(stream, kernel);
  const auto graph = host::end_capture(device, stream);
  hold.set_graph(graph.executable());
  for (std::int32_t n = 0; n < 3; ++n) {
    auto step = slots.begin();
    step.write(ids, test::ramp<std::int32_t>(64, n));
    step.commit(second, {stream});
    hold.launch(stream);
  }
  stream.synchronize();
  EXPECT_EQ(test::ramp<std::int32_t>(64, 2), seen);
}

TEST_F(Graphs, OtherStreamsAreOrderedWithTheLaunch) {
  const auto graph = capture_inputs();
  inputs.copy_in(test::ramp<std::int32_t>(64, 1));
  auto shut = host::hold(second);
  inputs.to_device(second);  // Eager, elsewhere, and not run yet.
  hold.launch(stream);
  EXPECT_FALSE(stream.is_idle());
  EXPECT_STATUS(status::timeout, stream.synchronize<no_throw>(std::chrono::milliseconds(20)));
  shut.release();
  EXPECT_OK(stream.synchronize<no_throw>());
}

TEST_F(Graphs, WhoLaunchesByHandDeclaresIt) {
  hold.add(inputs);
  inputs.copy_in(test::ramp<std::int32_t>(64, 1));
  host::begin_capture(stream);
  inputs.capture_to_device(hold, stream);
  const auto graph = host::end_capture(device, stream);
  auto shut = host::hold(stream);
  host::launch(stream, graph);  // In place of cuGraphLaunch: the library does not see it.
  EXPECT_STATUS(status::unfenced, inputs.copy_in<no_throw>(std::vector<std::int32_t>(64)));
  hold.replayed(stream);
  EXPECT_STATUS(status::busy, inputs.copy_in<no_throw>(std::vector<std::int32_t>(64), 0, no_wait));
  shut.release();
  inputs.copy_in(std::vector<std::int32_t>(64));
  EXPECT_EQ(test::ramp<std::int32_t>(64, 1), on_device());
}

TEST_F(Graphs, WhatACaptureDoesNotTakeIsRefusedAndTheCaptureGoesOn) {
  hold.add(inputs);
  auto event = gpubuf::event::create(device);
  event.record(second);
  host::begin_capture(stream);
  EXPECT_STATUS(status::capturing, host::begin_capture<no_throw>(stream));
  EXPECT_STATUS(status::capturing, inputs.to_device<no_throw>(stream));
  EXPECT_STATUS(status::capturing, inputs.zero<no_throw>(stream, gpubuf::side::device));
  EXPECT_STATUS(status::capturing, inputs.used_on<no_throw>(stream, gpubuf::access::read));
  EXPECT_STATUS(status::capturing, event.record<no_throw>(stream));
  EXPECT_STATUS(status::capturing, stream.wait_event<no_throw>(event));
  EXPECT_STATUS(status::capturing, stream.is_idle<no_throw>());
  EXPECT_STATUS(status::capturing, stream.synchronize<no_throw>());
  EXPECT_STATUS(status::capturing, device.synchronize<no_throw>());
  EXPECT_STATUS(status::capturing, device.drain<no_throw>());
  EXPECT_STATUS(status::capturing, host::call<no_throw>(stream, [](host::view&) {})) << "it would run once only";
  EXPECT_OK(device.maintain<no_throw>());
  EXPECT_OK(inputs.to_device<no_throw>(second)) << "other streams go on";
  second.synchronize();
  inputs.capture_to_device(hold, stream);
  EXPECT_OK(host::end_capture<no_throw>(device, stream));
}

TEST_F(Graphs, WhatIsNotInOrderIsRefused) {
  EXPECT_STATUS(status::not_begun, host::end_capture<no_throw>(device, stream));
  EXPECT_STATUS(status::not_begun, hold.launch<no_throw>(stream)) << "no graph is set";
  EXPECT_STATUS(status::invalid_argument, hold.set_graph<no_throw>(nullptr));
  host::begin_capture(stream);
  EXPECT_STATUS(status::not_held, inputs.capture_to_device<no_throw>(hold, stream)) << "it was not added";
  host::end_capture(device, stream).reset();
  {
    auto guard = inputs.begin_write<std::int32_t>();
    EXPECT_STATUS(status::busy, hold.add<no_throw>(inputs)) << "it is being filled";
  }
  const auto graph = capture_inputs();
  EXPECT_STATUS(status::exists, hold.add<no_throw>(inputs));
  EXPECT_STATUS(status::not_begun, inputs.capture_to_device<no_throw>(hold, stream)) << "the capture is over";
  const auto guard = inputs.begin_write<std::int32_t>();
  EXPECT_STATUS(status::busy, hold.launch<no_throw>(stream)) << "half-written inputs";
}

TEST_F(Graphs, PageableMemoryIsNotCaptured) {
  auto pageable = gpubuf::buffer::create<std::int32_t>(device, {64}, placement::pageable);
  hold.add(pageable);
  host::begin_capture(stream);
  EXPECT_STATUS(status::unsupported, pageable.capture_to_device<no_throw>(hold, stream));
  EXPECT_OK(host::end_capture<no_throw>(device, stream));
}

TEST_F(Graphs, AGraphIsKnownByItsNumber) {
  if (test::backend() != gpubuf::backend::host) GTEST_SKIP() << "the driver's graphs are pointers, and trusted";
  auto graph = capture_inputs();
  hold.launch(stream);
  graph.reset();  // What was launched still runs.
  EXPECT_STATUS(status::not_found, hold.launch<no_throw>(stream)) << "never undefined on the emulated device";
  EXPECT_OK(stream.synchronize<no_throw>());
}

TEST_F(Graphs, ADestroyedBufferStaysForItsGraph) {
  const auto graph = capture_inputs();
  inputs.copy_in(test::ramp<std::int32_t>(64, 4));
  const auto at = inputs.device_address({stream});
  inputs.reset();
  static_cast<void>(device.maintain());
  std::vector<std::int32_t> seen(64);
  hold.launch(stream);
  host::call(stream, [&, at](host::view& memory) { memory.read(at, seen.data(), 256); });
  stream.synchronize();
  EXPECT_EQ(test::ramp<std::int32_t>(64, 4), seen);
  hold.reset();
  stream.synchronize();
  static_cast<void>(device.maintain());
  EXPECT_EQ(0u, device.stats().device_bytes) << "the hold was the last to need it";
}

TEST_F(Graphs, AHoldDescribesItself) {
  const auto graph = capture_inputs();
  gpubuf::set_label(hold, "decode");
  EXPECT_NE(std::string::npos, gpubuf::describe(hold).find("graph hold \"decode\": 1 block")) << gpubuf::describe(hold);
  EXPECT_NE(std::string::npos, gpubuf::describe(inputs).find("1 graph hold")) << gpubuf::describe(inputs);
}
