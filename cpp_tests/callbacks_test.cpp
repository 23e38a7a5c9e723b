// Exceptions that leave a callback: none enters the library, each is counted, and the call that made it goes on.
#include "support.hpp"

#include <stdexcept>

using gpubuf::no_throw;
using gpubuf::status;

class Callbacks : public test::Device {
 protected:
  std::uint64_t before = gpubuf::dropped_exceptions();
  std::uint64_t dropped() const { return gpubuf::dropped_exceptions() - before; }
};

TEST_F(Callbacks, ARequestToGiveBackThatThrows) {
  int asked = 0;
  auto request = [&](const gpubuf::give_back_request&) {
    ++asked;
    throw std::runtime_error("lost");
  };
  gpubuf::pool_options options;
  options.block_bytes = 64;
  options.block_count = 1;
  const auto pool = gpubuf::pool::create(device, options, request);
  const auto held = pool.acquire();
  EXPECT_STATUS(status::timeout, pool.acquire<no_throw>(std::chrono::milliseconds(1), 5)) << "as if nobody had been asked";
  EXPECT_EQ(1, asked);
  EXPECT_EQ(1u, dropped());
  EXPECT_EQ(1u, pool.stats().give_back_requests);
}

TEST_F(Callbacks, ACapturedFunctionThatThrowsAtEachLaunch) {
  auto function = [](gpubuf::host::view&) { throw 1; };
  {
    gpubuf::host::begin_capture(stream);
    gpubuf::host::capture_call(stream, function);
    const auto graph = gpubuf::host::end_capture(device, stream);
    for (int launch = 0; launch < 3; ++launch) gpubuf::host::launch(stream, graph);
    EXPECT_OK(stream.synchronize<no_throw>()) << "the stream goes on";
  }
  EXPECT_EQ(3u, dropped());
}

TEST_F(Callbacks, AReleaseThatThrowsWhileAnotherExceptionIsUnderWay) {
  std::vector<float> memory(4);
  try {
    const auto buffer = gpubuf::borrowed_buffer::over<float>(device, memory, [] { throw std::runtime_error("inner"); });
    throw std::runtime_error("outer");
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ("outer", e.what());
  }
  device.drain();
  EXPECT_EQ(1u, dropped());
}

TEST_F(Callbacks, SomethingThatIsNoExceptionIsThrown) {
  struct odd {};
  gpubuf::host::call(stream, [](gpubuf::host::view&) { throw odd(); });
  EXPECT_OK(stream.synchronize<no_throw>());
  EXPECT_EQ(1u, dropped());
}
