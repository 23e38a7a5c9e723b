// The race the library exists to prevent, provoked: a slow kernel, then a copy of memory that the host rewrites at once for
// the next step. Through the library every byte that arrives must be right; by hand, without fences, some are not.
//
//   gpu_race [--steps N] [--delay-us N]
#include "lines.hpp"
#include "slow.hpp"

#include <cstring>
#include <memory>
#include <random>

namespace {

constexpr std::size_t bytes = 16384;
constexpr std::size_t log_steps = 512;

// The byte at a place in a step: other in every step, and along the memory.
unsigned char wanted(std::uint64_t step, std::size_t place) {
  return static_cast<unsigned char>((step * 37 + step / 256 * 11 + place * 7 + place / 256) & 0xff);
}

void write(unsigned char* target, std::uint64_t step) {
  for (std::size_t i = 0; i < bytes; ++i) target[i] = wanted(step, i);
}

std::uint64_t wrong_in(const unsigned char* found, std::uint64_t step) {
  std::uint64_t wrong = 0;
  for (std::size_t i = 0; i < bytes; ++i) wrong += found[i] != wanted(step, i);
  return wrong;
}

// What streams saw, step by step, copied on the device in stream order and looked at when the log is full.
class Log {
 public:
  Log() {
    cu::must(cu::cuMemAlloc_v2(&device_, log_steps * bytes), "cuMemAlloc");
    void* host = nullptr;
    cu::must(cu::cuMemHostAlloc(&host, log_steps * bytes, cu::portable_mapped), "cuMemHostAlloc");
    host_ = static_cast<unsigned char*>(host);
  }
  ~Log() {
    cu::cuMemFree_v2(device_);
    cu::cuMemFreeHost(host_);
  }
  Log(const Log&) = delete;

  /// Queues the copy of what a step left in device memory.
  void take(cu::address from, std::uint64_t step, cu::stream on) {
    cu::must(cu::cuMemcpyAsync(device_ + steps_.size() * bytes, from, bytes, on), "cuMemcpyAsync");
    steps_.push_back(step);
  }
  bool full() const { return steps_.size() == log_steps; }
  /// Waits for everything, looks, and begins anew.
  void look() {
    cu::must(cu::cuCtxSynchronize(), "cuCtxSynchronize");
    if (steps_.empty()) return;
    cu::must(cu::cuMemcpyDtoH_v2(host_, device_, steps_.size() * bytes), "cuMemcpyDtoH");
    for (std::size_t i = 0; i < steps_.size(); ++i) note(wrong_in(host_ + i * bytes, steps_[i]));
    steps_.clear();
  }
  void note(std::uint64_t wrong) {
    wrong_bytes += wrong;
    wrong_steps += wrong != 0;
    ++looks;
  }
  std::uint64_t wrong_bytes = 0, wrong_steps = 0, looks = 0;

 private:
  cu::address device_ = 0;
  unsigned char* host_ = nullptr;
  std::vector<std::uint64_t> steps_;
};

struct Rig {
  gpubuf::device device = gpubuf::device::open(gpubuf::backend::cuda);
  gpubuf::stream streams[2] = {gpubuf::stream::create(device), gpubuf::stream::create(device)};
  std::uint64_t steps = 0, delay_ns = 0;
  std::mt19937_64 random{20231116};
  const slow::Slow* slow = nullptr;
  /// Work that is now in front of everything queued next on a stream: none up to the whole delay.
  void keep_busy(const gpubuf::stream& stream) { (*slow)(stream, delay_ns == 0 ? 0 : random() % (2 * delay_ns)); }
};

// A buffer that is written, sent, and used by a copy on the device, each step on one of two streams.
void buffers(Rig& rig, Log& log) {
  gpubuf::buffer ring[2] = {gpubuf::buffer::create<unsigned char>(rig.device, {bytes}),
                            gpubuf::buffer::create<unsigned char>(rig.device, {bytes})};
  for (std::uint64_t step = 0; step < rig.steps; ++step) {
    gpubuf::buffer& buffer = ring[step % 2];
    const gpubuf::stream& stream = rig.streams[rig.random() % 2];
    {
      auto values = buffer.begin_write<unsigned char>();
      write(values.data(), step);
      values.end();
    }
    rig.keep_busy(stream);
    buffer.to_device(stream);
    rig.keep_busy(stream);
    log.take(static_cast<cu::address>(buffer.device_address({stream})), step, stream.native());
    buffer.used_on(stream, gpubuf::access::read);
    if (log.full()) log.look();
  }
  log.look();
}

// The other way: the device writes, the host reads when the bytes have landed, and the device writes again.
void buffers_back(Rig& rig, Log& log) {
  auto source = gpubuf::buffer::create<unsigned char>(rig.device, {bytes});
  auto target = gpubuf::buffer::create<unsigned char>(rig.device, {bytes});
  const gpubuf::stream& stream = rig.streams[0];
  for (std::uint64_t step = 0; step < rig.steps; ++step) {
    {
      auto values = source.begin_write<unsigned char>();
      write(values.data(), step);
      values.end();
    }
    source.to_device(stream);
    rig.keep_busy(stream);
    cu::must(cu::cuMemcpyDtoDAsync_v2(static_cast<cu::address>(target.device_address({stream})),
                                      static_cast<cu::address>(source.device_address({stream})), bytes, stream.native()),
             "cuMemcpyDtoDAsync");
    source.used_on(stream, gpubuf::access::read);
    target.used_on(stream, gpubuf::access::write);
    target.to_host(stream);
    auto values = target.begin_read<unsigned char>();
    log.note(wrong_in(values.data(), step));
  }
  log.look();
}

// Blocks of a pool that is smaller than what is under way.
void pools(Rig& rig, Log& log, gpubuf::placement where) {
  auto pool = gpubuf::pool::create(rig.device, bytes, 3, where);
  for (std::uint64_t step = 0; step < rig.steps; ++step) {
    const gpubuf::stream& stream = rig.streams[rig.random() % 2];
    auto block = pool.acquire();
    {
      auto values = block.begin_write<unsigned char>();
      write(values.data(), step);
      values.end();
    }
    rig.keep_busy(stream);
    if (where == gpubuf::placement::pinned) {
      block.to_device(stream);
      rig.keep_busy(stream);
    }
    log.take(static_cast<cu::address>(block.device_address()), step, stream.native());
    block.release_after({stream});
    if (log.full()) log.look();
  }
  log.look();
}

// Steps of slots, committed on one stream and read on another.
void slots(Rig& rig, Log& log) {
  auto slots = gpubuf::slots::create(rig.device);
  auto first = slots.add<unsigned char>("first", {bytes});
  auto second = slots.add<unsigned char>("second", {bytes});
  slots.freeze();
  const gpubuf::stream &copies = rig.streams[0], &compute = rig.streams[1];
  std::vector<unsigned char> values(bytes);
  for (std::uint64_t step = 0; step < rig.steps; ++step) {
    auto filling = slots.begin();
    write(values.data(), step);
    filling.write(first, values);
    write(values.data(), step + 1);
    filling.write(second, values);
    rig.keep_busy(copies);
    filling.commit(copies, {compute});
    rig.keep_busy(compute);
    log.take(static_cast<cu::address>(slots.device_address(first)), step, compute.native());
    log.take(static_cast<cu::address>(slots.device_address(second)), step + 1, compute.native());
    filling.retire();
    if (log.full()) log.look();
  }
  log.look();
}

// The same loop as people write it: one pinned array, rewritten each step, and no fence.
void by_hand(Rig& rig, Log& log) {
  const gpubuf::stream& stream = rig.streams[0];
  void* host = nullptr;
  cu::address device = 0;
  cu::must(cu::cuMemHostAlloc(&host, bytes, cu::portable_mapped), "cuMemHostAlloc");
  cu::must(cu::cuMemAlloc_v2(&device, bytes), "cuMemAlloc");
  for (std::uint64_t step = 0; step < rig.steps; ++step) {
    write(static_cast<unsigned char*>(host), step);
    rig.keep_busy(stream);
    cu::must(cu::cuMemcpyHtoDAsync_v2(device, host, bytes, stream.native()), "cuMemcpyHtoDAsync");
    log.take(device, step, stream.native());
    if (log.full()) log.look();
  }
  log.look();
  cu::must(cu::cuMemFree_v2(device), "cuMemFree");
  cu::must(cu::cuMemFreeHost(host), "cuMemFreeHost");
}

bool failed = false;

template <class Body>
void report(Rig& rig, const char* name, bool must_be_right, Body&& body) {
  const auto start = lines::clock::now();
  Log log;
  lines::Line line(name);
  try {
    const auto waits = rig.device.stats().host_waits;
    body(rig, log);
    line.put("wrong_bytes", log.wrong_bytes).put("wrong_steps", log.wrong_steps).put("looks", log.looks);
    line.put("host_waits", rig.device.stats().host_waits - waits).put("slow_by", rig.slow->kind());
    line.put("seconds", lines::since(start) / 1e6);
    const bool right = log.wrong_bytes == 0 && log.looks >= rig.steps;
    failed |= must_be_right && !right;
    line.print(!must_be_right ? "info" : right ? "pass" : "fail");
  } catch (const gpubuf::error& error) {
    failed = true;
    line.put("message", error.what()).print("fail");
  }
}

}  // namespace

int main(int count, char** arguments) try {
  cu::load(cu::path_of_library());
  Rig rig;
  rig.steps = lines::option(count, arguments, "steps", 2000);
  rig.delay_ns = 1000 * lines::option(count, arguments, "delay-us", 100);
  cu::must(cu::cuInit(0), "cuInit");
  cu::must(cu::cuCtxSetCurrent(rig.device.info().native_context), "cuCtxSetCurrent");
  const slow::Slow slow;
  rig.slow = &slow;
  slow(rig.streams[0], 0);
  rig.streams[0].synchronize();
  const auto start = lines::clock::now();
  slow(rig.streams[0], 5'000'000);
  rig.streams[0].synchronize();
  lines::Line("something slow").put("by", slow.kind()).put("loading_the_kernel_answered", slow.loaded())
      .put("us_of_5000", lines::since(start)).print(slow.loaded() == 0 || cu::is_simulation ? "pass" : "fail");
  report(rig, "buffers to the device", true, buffers);
  report(rig, "buffers to the host", true, buffers_back);
  report(rig, "blocks of a pool", true, [](Rig& r, Log& log) { pools(r, log, gpubuf::placement::pinned); });
  report(rig, "blocks read in place", true, [](Rig& r, Log& log) { pools(r, log, gpubuf::placement::uva); });
  report(rig, "steps of slots", true, slots);
  report(rig, "by hand, without fences", false, by_hand);
  return failed ? 1 : 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
