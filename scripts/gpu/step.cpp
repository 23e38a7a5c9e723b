// One step's inputs of a decode loop, seven arrays, brought to the device: through slots, and one by one as runtimes do it.
//
//   gpu_step [--steps N] [--batch N]
//
// The arrays are those that vLLM's runner copies for a plain decode step besides the block table. Variants take turns step by
// step. "host" is the time until the calls are made, "there" until the bytes are on the device; between steps the stream is
// idle, so that no fence has anything to wait for and the host's time is that of the calls.
#include "driver.hpp"
#include "lines.hpp"

#include <gpubuf/gpubuf.hpp>

#include <cstring>
#include <functional>
#include <memory>

namespace {

struct Array {
  const char* name;
  std::size_t bytes;
  std::vector<unsigned char> values;  // pageable, as a scheduler has them
};

std::vector<Array> arrays_of(std::size_t batch) {
  std::vector<Array> arrays = {
      {"query_start_loc", 4 * (batch + 1), {}}, {"discard_request_mask", batch, {}}, {"num_computed_tokens", 4 * batch, {}},
      {"req_indices", 8 * batch, {}}, {"query_pos", 8 * batch, {}}, {"num_scheduled_tokens", 4 * batch, {}}, {"input_ids", 4 * batch, {}},
  };
  for (Array& array : arrays) array.values.resize(array.bytes);
  return arrays;
}

void next_values(std::vector<Array>& arrays, std::uint64_t step) {
  for (Array& array : arrays) std::memset(array.values.data(), static_cast<int>(step * 3 + array.bytes), array.bytes);
}

// A way to stage a step: `stage` returns when the calls are made, `address` says where an array is on the device.
struct Way {
  std::string name;
  std::function<void(const std::vector<Array>&)> stage;
  std::vector<cu::address> addresses;
  std::vector<double> host{}, there{};
  std::uint64_t wrong_bytes = 0;
};

// Pinned and device memory of one array each.
struct Pairs {
  explicit Pairs(const std::vector<Array>& arrays) {
    for (const Array& array : arrays) {
      void* host = nullptr;
      cu::address device = 0;
      cu::must(cu::cuMemHostAlloc(&host, array.bytes, cu::portable_mapped), "cuMemHostAlloc");
      cu::must(cu::cuMemAlloc_v2(&device, array.bytes), "cuMemAlloc");
      hosts.push_back(host);
      devices.push_back(device);
    }
  }
  ~Pairs() {
    for (void* host : hosts) cu::cuMemFreeHost(host);
    for (cu::address device : devices) cu::cuMemFree_v2(device);
  }
  Pairs(const Pairs&) = delete;
  std::vector<void*> hosts;
  std::vector<cu::address> devices;
};

std::uint64_t wrong_on_device(const Way& way, const std::vector<Array>& arrays) {
  std::uint64_t wrong = 0;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    std::vector<unsigned char> found(arrays[i].bytes);
    cu::must(cu::cuMemcpyDtoH_v2(found.data(), way.addresses[i], found.size()), "cuMemcpyDtoH");
    for (std::size_t k = 0; k < found.size(); ++k) wrong += found[k] != arrays[i].values[k];
  }
  return wrong;
}

// Whether every array arrived as it was staged.
bool measure(const gpubuf::device& device, std::size_t batch, std::uint64_t steps) {
  auto arrays = arrays_of(batch);
  auto stream = gpubuf::stream::create(device);
  const auto raw = stream.native();

  auto slots = gpubuf::slots::create(device);
  std::vector<gpubuf::slot<unsigned char>> places;
  for (const Array& array : arrays) places.push_back(slots.add<unsigned char>(array.name, {array.bytes}));
  slots.freeze();
  std::vector<cu::address> slot_addresses;
  for (const auto& place : places) slot_addresses.push_back(slots.device_address(place));

  Pairs fenced(arrays), unfenced(arrays);
  cu::event copied = nullptr;
  cu::must(cu::cuEventCreate(&copied, cu::disable_timing | 1), "cuEventCreate");
  const auto one_by_one = [raw](const Pairs& pairs, const std::vector<Array>& from) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      std::memcpy(pairs.hosts[i], from[i].values.data(), from[i].bytes);
      cu::must(cu::cuMemcpyHtoDAsync_v2(pairs.devices[i], pairs.hosts[i], from[i].bytes, raw), "cuMemcpyHtoDAsync");
    }
  };
  std::vector<Way> ways;
  ways.push_back({"gpubuf slots", [&](const std::vector<Array>& from) {
    auto step = slots.begin();
    for (std::size_t i = 0; i < from.size(); ++i) step.write(places[i], from[i].values);
    step.commit(stream);
    step.retire({stream});
  }, slot_addresses});
  ways.push_back({"one by one, an event before and after", [&](const std::vector<Array>& from) {
    cu::must(cu::cuEventSynchronize(copied), "cuEventSynchronize");
    one_by_one(fenced, from);
    cu::must(cu::cuEventRecord(copied, raw), "cuEventRecord");
  }, fenced.devices});
  ways.push_back({"one by one, no fence", [&](const std::vector<Array>& from) { one_by_one(unfenced, from); }, unfenced.devices});

  for (std::uint64_t step = 0; step < steps + steps / 10; ++step) {
    next_values(arrays, step);
    for (Way& way : ways) {
      const auto start = lines::clock::now();
      way.stage(arrays);
      const double host = lines::since(start);
      cu::must(cu::cuStreamSynchronize(raw), "cuStreamSynchronize");
      const double there = lines::since(start);
      if (step >= steps / 10) {  // the first ones warm up
        way.host.push_back(host);
        way.there.push_back(there);
      }
      if (step % 97 == 0) way.wrong_bytes += wrong_on_device(way, arrays);
    }
  }
  std::size_t bytes = 0;
  for (const Array& array : arrays) bytes += array.bytes;
  for (const Way& way : ways) {
    lines::Line("batch " + std::to_string(batch) + ", " + way.name)
        .put("host_us", lines::median(way.host)).put("host_us_p99", lines::quantile(way.host, 0.99))
        .put("there_us", lines::median(way.there)).put("there_us_p99", lines::quantile(way.there, 0.99))
        .put("steps", steps).put("arrays", arrays.size()).put("bytes", bytes).put("wrong_bytes", way.wrong_bytes)
        .print(way.wrong_bytes == 0 ? "pass" : "fail");
  }
  cu::cuEventDestroy_v2(copied);
  return std::all_of(ways.begin(), ways.end(), [](const Way& way) { return way.wrong_bytes == 0; });
}

}  // namespace

int main(int count, char** arguments) try {
  cu::load(cu::path_of_library());
  auto device = gpubuf::device::open(gpubuf::backend::cuda);
  cu::must(cu::cuInit(0), "cuInit");
  cu::must(cu::cuCtxSetCurrent(device.info().native_context), "cuCtxSetCurrent");
  const bool right = measure(device, lines::option(count, arguments, "batch", 256), lines::option(count, arguments, "steps", 2000));
  return right ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
