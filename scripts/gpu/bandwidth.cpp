// How fast copies are through the library, against the driver's own calls in the same run; and what single calls cost.
//
//   gpu_bandwidth [--max-bytes N] [--rounds N]
//
// Variants run in turns; every figure is a median over rounds, every ratio the median of ratios taken round by round.
#include "driver.hpp"
#include "lines.hpp"

#include <gpubuf/gpubuf.hpp>

#include <sys/mman.h>

#include <functional>

namespace {

constexpr std::size_t kib = 1024, mib = 1024 * kib, gib = 1024 * mib;

struct Variant {
  const char* name;
  std::function<void()> run;
  std::vector<double> times{};
};

// Runs every variant `rounds` times, in turns, and keeps microseconds.
void in_turns(std::vector<Variant>& variants, std::uint64_t rounds) {
  for (Variant& variant : variants) variant.run();
  for (std::uint64_t round = 0; round < rounds; ++round) {
    for (Variant& variant : variants) {
      const auto start = lines::clock::now();
      variant.run();
      variant.times.push_back(lines::since(start));
    }
  }
}

double ratio(const Variant& one, const Variant& other) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < one.times.size(); ++i) ratios.push_back(one.times[i] / other.times[i]);
  return lines::median(ratios);
}

std::string size_name(std::size_t bytes) {
  if (bytes >= gib) return std::to_string(bytes / gib) + " GiB";
  return bytes >= mib ? std::to_string(bytes / mib) + " MiB" : std::to_string(bytes / kib) + " KiB";
}

// One size, one direction: alone with a wait for each, and many queued with one wait.
void copies(const gpubuf::device& device, std::size_t bytes, bool to_device, std::uint64_t rounds) {
  auto buffer = gpubuf::buffer::create<unsigned char>(device, {bytes});
  auto stream = gpubuf::stream::create(device);
  const auto raw_stream = stream.native();
  void* host = nullptr;
  cu::address memory = 0;
  cu::must(cu::cuMemHostAlloc(&host, bytes, cu::portable_mapped), "cuMemHostAlloc");
  cu::must(cu::cuMemAlloc_v2(&memory, bytes), "cuMemAlloc");
  // As many as keep the link busy for a while, and the queue short.
  const std::size_t queued = std::clamp<std::size_t>(64 * mib / bytes, 1, 256);
  const auto raw = [&] {
    cu::must(to_device ? cu::cuMemcpyHtoDAsync_v2(memory, host, bytes, raw_stream) : cu::cuMemcpyDtoHAsync_v2(host, memory, bytes, raw_stream),
             "cuMemcpyAsync");
  };
  const auto wait = [&] { cu::must(cu::cuStreamSynchronize(raw_stream), "cuStreamSynchronize"); };
  const auto library = [&] { to_device ? buffer.to_device(stream) : buffer.to_host(stream); };
  std::vector<Variant> variants = {
      {"raw blocking", [&] { raw(); wait(); }},
      {"gpubuf blocking", [&] { to_device ? buffer.to_device_blocking(stream) : buffer.to_host_blocking(stream); }},
      {"raw queued", [&] { for (std::size_t i = 0; i < queued; ++i) raw(); wait(); }},
      {"gpubuf queued", [&] { for (std::size_t i = 0; i < queued; ++i) library(); stream.synchronize(); }},
  };
  in_turns(variants, rounds);
  const auto rate = [&](const Variant& variant, std::size_t count) {
    return static_cast<double>(bytes * count) / lines::median(variant.times) / 1e3;
  };
  lines::Line(std::string(to_device ? "host to device, " : "device to host, ") + size_name(bytes))
      .put("bytes", bytes).put("queued", queued).put("rounds", rounds)
      .put("raw_blocking_us", lines::median(variants[0].times)).put("gpubuf_blocking_us", lines::median(variants[1].times))
      .put("raw_blocking_gb_s", rate(variants[0], 1)).put("gpubuf_blocking_gb_s", rate(variants[1], 1))
      .put("raw_queued_gb_s", rate(variants[2], queued)).put("gpubuf_queued_gb_s", rate(variants[3], queued))
      .put("blocking_time_ratio", ratio(variants[1], variants[0])).put("queued_time_ratio", ratio(variants[3], variants[2]))
      .print("info");
  cu::must(cu::cuMemFree_v2(memory), "cuMemFree");
  cu::must(cu::cuMemFreeHost(host), "cuMemFreeHost");
}

// Nanoseconds of one call, over many, in rounds.
void single_calls(const gpubuf::device& device, std::uint64_t rounds) {
  auto stream = gpubuf::stream::create(device);
  auto event = gpubuf::event::create(device);
  const auto raw_stream = stream.native();
  const cu::context context = device.info().native_context;
  cu::event plain = nullptr, timed = nullptr;
  cu::must(cu::cuEventCreate(&plain, cu::disable_timing), "cuEventCreate");
  cu::must(cu::cuEventCreate(&timed, 0), "cuEventCreate");
  constexpr int calls = 500;
  const auto many = [](auto call) { return [call] { for (int i = 0; i < calls; ++i) call(); }; };
  std::vector<Variant> variants = {
      {"cuEventRecord, no timing", many([=] { cu::cuEventRecord(plain, raw_stream); })},
      {"cuEventRecord, with timing", many([=] { cu::cuEventRecord(timed, raw_stream); })},
      {"gpubuf_event_record", many([&] { event.record(stream); })},
      {"cuEventQuery", many([=] { cu::cuEventQuery(plain); })},
      {"gpubuf_event_query", many([&] { static_cast<void>(event.is_complete()); })},
      {"cuStreamQuery", many([=] { cu::cuStreamQuery(raw_stream); })},
      {"cuStreamIsCapturing", many([=] { int status = 0; cu::cuStreamIsCapturing(raw_stream, &status); })},
      {"cuStreamWaitEvent", many([=] { cu::cuStreamWaitEvent(raw_stream, plain, 0); })},
      {"enter a context that is current: cuCtxGetCurrent", many([] { cu::context found = nullptr; cu::cuCtxGetCurrent(&found); })},
      {"enter another context: cuCtxGetCurrent, push, pop", many([=] {
         cu::context found = nullptr;
         cu::cuCtxGetCurrent(&found);
         cu::cuCtxPushCurrent_v2(context);
         cu::cuCtxPopCurrent_v2(&found);
       })},
      {"leave captures alone: cuThreadExchangeStreamCaptureMode, twice", many([] {
         int mode = 2;
         cu::cuThreadExchangeStreamCaptureMode(&mode);
         cu::cuThreadExchangeStreamCaptureMode(&mode);
       })},
      {"cuEventCreate and cuEventDestroy", many([] {
         cu::event made = nullptr;
         cu::cuEventCreate(&made, cu::disable_timing);
         cu::cuEventDestroy_v2(made);
       })},
  };
  // What was queued is waited for outside the times.
  for (std::uint64_t round = 0; round <= rounds; ++round) {
    for (Variant& variant : variants) {
      const auto start = lines::clock::now();
      variant.run();
      if (round > 0) variant.times.push_back(lines::since(start));
      stream.synchronize();
    }
  }
  for (const Variant& variant : variants) {
    lines::Line(std::string("cost of ") + variant.name).put("ns", lines::median(variant.times) * 1000 / calls)
        .put("calls", calls).put("rounds", rounds).print("info");
  }
  cu::cuEventDestroy_v2(plain);
  cu::cuEventDestroy_v2(timed);
}

// Page-locked memory in the ways there are, each made and given back in turns.
void allocations(std::size_t bytes, std::uint64_t rounds) {
  const auto open = [](std::uint32_t method) {
    gpubuf::device_options options;
    options.backend = GPUBUF_BACKEND_CUDA;
    options.pinned_method = method;
    return gpubuf::device::open(options);
  };
  auto by_driver = open(GPUBUF_PINNED_DRIVER), by_register = open(GPUBUF_PINNED_REGISTER);
  const auto make = [bytes](const gpubuf::device& device) {
    return gpubuf::buffer::create<unsigned char>(device, {bytes}, gpubuf::placement::pinned, gpubuf::placement::none);
  };
  void* touched = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (touched == MAP_FAILED) throw std::runtime_error("no memory to register");
  // Time to get it, without the time to give it back.
  std::vector<Variant> variants = {{"cuMemHostAlloc", {}}, {"gpubuf, by the driver", {}}, {"gpubuf, mapped and registered", {}},
                                   {"cuMemHostRegister of memory that was touched", {}}};
  const auto time = [](Variant& variant, auto&& work) {
    const auto start = lines::clock::now();
    work();
    variant.times.push_back(lines::since(start));
  };
  for (std::uint64_t round = 0; round < rounds; ++round) {
    void* host = nullptr;
    time(variants[0], [&] { cu::must(cu::cuMemHostAlloc(&host, bytes, cu::portable_mapped), "cuMemHostAlloc"); });
    cu::must(cu::cuMemFreeHost(host), "cuMemFreeHost");
    {
      gpubuf::buffer made;
      time(variants[1], [&] { made = make(by_driver); });
    }
    by_driver.maintain();
    {
      gpubuf::buffer made;
      time(variants[2], [&] { made = make(by_register); });
    }
    by_register.maintain();
    int code = 0;
    time(variants[3], [&] { code = cu::cuMemHostRegister_v2(touched, bytes, cu::portable_mapped); });
    if (code == 0) cu::must(cu::cuMemHostUnregister(touched), "cuMemHostUnregister");
    if (code != 0) variants[3].times.clear();
  }
  munmap(touched, bytes);
  for (const Variant& variant : variants) {
    lines::Line("page-locking " + size_name(bytes) + ": " + variant.name).put("us", lines::median(variant.times))
        .put("us_of_a_mib", lines::median(variant.times) / static_cast<double>(bytes / mib)).put("rounds", variant.times.size())
        .print(variant.times.empty() ? "skip" : "info");
  }
}

}  // namespace

int main(int count, char** arguments) try {
  const std::size_t most = lines::option(count, arguments, "max-bytes", gib);
  const std::uint64_t rounds = lines::option(count, arguments, "rounds", 15);
  cu::load(cu::path_of_library());
  auto device = gpubuf::device::open(gpubuf::backend::cuda);
  cu::must(cu::cuInit(0), "cuInit");
  cu::must(cu::cuCtxSetCurrent(device.info().native_context), "cuCtxSetCurrent");
  single_calls(device, rounds);
  for (std::size_t bytes = 4 * kib; bytes <= most; bytes *= 4) {
    // Small copies take more rounds to a steady median, large ones are steady and slow.
    const std::uint64_t of_size = bytes <= mib ? 4 * rounds : bytes <= 64 * mib ? rounds : std::max<std::uint64_t>(rounds / 2, 3);
    for (bool to_device : {true, false}) {
      copies(device, bytes, to_device, of_size);
      device.maintain();
    }
  }
  for (std::size_t bytes : {64 * mib, gib}) {
    if (bytes <= most) allocations(bytes, 5);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
