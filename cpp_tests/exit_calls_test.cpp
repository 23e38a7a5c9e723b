// Static objects whose destructors use the library, some while it works still and some after it noticed the exit.
#include <gpubuf/gpubuf.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace {

using gpubuf::no_throw;
using gpubuf::status;

void expect(bool so, const char* what) {
  if (so) return;
  std::fprintf(stderr, "not so: %s (%s)\n", what, std::string(gpubuf::last_error_message()).c_str());
  std::_Exit(1);
}

/// What an application keeps for its whole life, and uses once more when that ends.
class engine {
 public:
  engine() = default;
  void start() {
    device_ = gpubuf::device::open();
    stream_ = gpubuf::stream::create(device_);
    buffer_ = gpubuf::buffer::create<float>(device_, {16});
    buffer_.to_device(stream_);
  }
  status last_step() {
    const std::array<float, 4> values{1, 2, 3, 4};
    const status written = buffer_.copy_in<no_throw>(values);
    if (written != status::ok) return written;
    return stream_.synchronize<no_throw>();
  }
  status open_another() const { return gpubuf::device::open<no_throw>().status(); }
  gpubuf::device& device() { return device_; }

 private:
  gpubuf::device device_;
  gpubuf::stream stream_;
  gpubuf::buffer buffer_;
};

/// Constructed before the library was first used: destroyed after it noticed the exit.
struct early_engine : engine {
  ~early_engine() {
    expect(last_step() == status::shut_down, "a step after the library's end says so");
    expect(open_another() == status::shut_down, "and so does a new device");
    expect(!gpubuf::last_error_message().empty(), "with a message");
  }
} early;

/// Constructed after that: destroyed while the library still works.
struct late_engine : engine {
  ~late_engine() {
    expect(last_step() == status::ok, "a last step");
    expect(open_another() == status::ok, "and another device");
    std::thread([this] { expect(last_step() == status::ok, "from a thread that is started now"); }).join();
  }
};

}  // namespace

int main() {
  early.start();
  static late_engine late;
  late.start();
  expect(late.last_step() == status::ok, "a step");
  return 0;
}
