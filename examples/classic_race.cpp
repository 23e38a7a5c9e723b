// The classic race of staging: a loop keeps the pointer to its pinned memory and refills it while the copy is still queued.
//
//   classic_race                            goes wrong, and says so: the device got the next step's tokens
//   GPUBUF_DEBUG=1 classic_race             the refill faults, and the report says what, where and who
//   GPUBUF_DEBUG=1 classic_race borrowed    memory of the program's own, which cannot be protected: found by its bytes
//   scripts/find-races.sh classic_race ...  as often as you like, each time with another schedule
#include <gpubuf/gpubuf.hpp>

#include <cstdio>
#include <string>
#include <vector>

namespace {

constexpr std::size_t count = 1024;

/// Step `step` begins as it should: a guard waits until nobody reads the memory. Then its pointer is kept, which is the mistake.
int* first_fill(gpubuf::buffer& tokens, int step) {
  auto values = tokens.begin_write<int>();
  for (int& value : values.span()) value = step;
  int* kept = values.span().data();
  values.end();
  return kept;
}

/// What a step does behind its fill.
void queue_the_copy(gpubuf::buffer& tokens, gpubuf::stream& stream) { tokens.to_device(stream); }

/// The next step's fill, without a guard: nothing waits for the copy.
void refill_too_early(int* kept, int step) {
  volatile int* values = kept;
  for (std::size_t i = 0; i < count; ++i) values[i] = step;
}

}  // namespace

int main(int argc, char** argv) try {
  const bool borrowed = argc > 1 && std::string(argv[1]) == "borrowed";
  auto device = gpubuf::device::open(gpubuf::backend::host);
  auto stream = gpubuf::stream::create(device);
  gpubuf::set_label(stream, "copies");

  std::vector<int> own(count);
  gpubuf::borrowed_buffer theirs;
  gpubuf::buffer ours;
  if (borrowed) {
    theirs = gpubuf::borrowed_buffer::over<int>(device, own, {}, gpubuf::placement::pinned);
  } else {
    ours = gpubuf::buffer::create<int>(device, {count});
  }
  gpubuf::buffer& tokens = borrowed ? theirs : ours;
  gpubuf::set_label(tokens, "tokens");

  int* kept = first_fill(tokens, 1);
  // As if the device were busy with something longer.
  auto held = gpubuf::host::hold(stream);
  queue_the_copy(tokens, stream);
  refill_too_early(kept, 2);
  held.release();
  stream.synchronize();

  // What the device got.
  tokens.to_host(stream);
  auto seen = tokens.begin_read<int>();
  std::printf("step 1 sent the tokens of step %d\n", seen.span()[0]);
  return 0;
} catch (const gpubuf::error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 2;
}
