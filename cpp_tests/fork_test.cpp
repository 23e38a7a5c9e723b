// A child after fork: the parent's objects are void in it, every call says so, and it exits cleanly.
#include "support.hpp"

#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

using gpubuf::no_throw;
using gpubuf::status;

namespace {

/// Runs `body` in a child, which then exits the usual way; its exit code.
template <class F>
int in_child(F&& body) {
  const pid_t child = ::fork();
  if (child == 0) std::exit(body());
  int state = 0;
  EXPECT_EQ(child, ::waitpid(child, &state, 0));
  EXPECT_TRUE(WIFEXITED(state)) << "ended by signal " << (WIFSIGNALED(state) ? WTERMSIG(state) : 0);
  return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

/// 0, or the line of the first call that did not answer FORKED.
#define FORKED_OR_RETURN(...) \
  if (::test::code(__VA_ARGS__) != status::forked) return __LINE__ % 256

}  // namespace

class Fork : public test::Device {
 protected:
  gpubuf::buffer buffer = gpubuf::buffer::create<float>(device, {4});
  gpubuf::pool pool = gpubuf::pool::create(device, 64, 2);
  gpubuf::block block = pool.acquire();
};

TEST_F(Fork, EveryCallOfTheChildSaysSo) {
  buffer.to_device(stream);
  EXPECT_EQ(0, in_child([&] {
    FORKED_OR_RETURN(buffer.to_device<no_throw>(stream));
    FORKED_OR_RETURN(buffer.begin_write<float, no_throw>());
    FORKED_OR_RETURN(pool.acquire<no_throw>());
    FORKED_OR_RETURN(block.give_back<no_throw>());
    FORKED_OR_RETURN(device.synchronize<no_throw>());
    FORKED_OR_RETURN(gpubuf::stream::create<no_throw>(device));
    FORKED_OR_RETURN(gpubuf::device::open<no_throw>(test::backend()));
    if (gpubuf::last_error_message().empty()) return 255;
    return 0;
  }));
  EXPECT_OK(stream.synchronize<no_throw>()) << "the parent goes on";
  EXPECT_OK(buffer.to_device<no_throw>(stream));
}

TEST_F(Fork, EndsAreHarmlessInTheChild) {
  auto guard = buffer.begin_write<float>();
  EXPECT_EQ(0, in_child([&] {
    { auto gone = std::move(guard); }
    buffer.reset();
    block.reset();
    pool.reset();
    stream.reset();
    device.reset();
    return 0;
  }));
  EXPECT_EQ(2u, pool.stats().block_count) << "and end nothing in the parent";
  guard.end();
  EXPECT_OK(buffer.to_device<no_throw>(stream));
}

TEST_F(Fork, AChildExitsWithWorkInFlight) {
  auto shut = gpubuf::host::hold(stream);
  buffer.to_device(stream);
  EXPECT_EQ(0, in_child([] { return 0; }));
  EXPECT_FALSE(stream.is_idle());
}

TEST_F(Fork, ShutdownInTheChildIsRefusedOrDoesNothing) {
  EXPECT_EQ(0, in_child([] {
    const status answer = gpubuf::shutdown<no_throw>();
    return answer == status::forked || answer == status::ok ? 0 : 1;
  }));
  EXPECT_OK(buffer.to_device<no_throw>(stream));
}
