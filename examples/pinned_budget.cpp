// Two models share one budget of page-locked memory: each load reserves before it begins, requests wait for each other instead
// of failing, and what the budget does not hold runs from pageable memory, which is counted.
#include <gpubuf/gpubuf.hpp>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

void print(const char* when, const gpubuf::pinned& memory) {
  const auto figures = memory.stats();
  std::printf("%-32s %7" PRIu64 " KiB requested, %7" PRIu64 " reserved, %7" PRIu64 " cached, %7" PRIu64 " available; %7" PRIu64 " page-locked\n",
              when, figures.requested_bytes >> 10, figures.reserved_bytes >> 10, figures.cached_bytes >> 10,
              figures.available_bytes >> 10, figures.locked_bytes >> 10);
}

}  // namespace

int main() {
  const auto device = gpubuf::device::open();
  const auto stream = gpubuf::stream::create(device);

  // When memory runs short, idle slabs go; if that is not enough, the request's own policy decides.
  const gpubuf::pinned* all = nullptr;
  auto tell = [](const gpubuf::notice& of) {
    if (of.kind == gpubuf::notice_kind::pageable) std::printf("%s: %" PRIu64 " KiB in pageable memory\n", of.owner, of.bytes >> 10);
  };
  auto cure = [&](const gpubuf::shortage& of) { return of.attempt == 1 && all->trim() > 0; };
  gpubuf::pinned_options options;
  options.budget_bytes = 16 << 20;
  options.label = "staging";
  const auto memory = gpubuf::pinned::create(device, options, tell, cure);
  all = &memory;

  // A load of several buffers happens as a whole, or not at all.
  std::vector<gpubuf::block> weights;
  {
    const auto load = memory.reserve(gpubuf::pinned_request(12 << 20).owned_by("model-a"));
    for (int layer = 0; layer < 10; ++layer) weights.push_back(load.commit((1 << 20) + 100 * static_cast<unsigned>(layer)));
    print("loading", memory);
  }  // what was not committed goes back
  print("model-a is loaded", memory);

  // A step's staging: exact sizes, and given back while the copy may still read it.
  auto staging = memory.allocate(gpubuf::pinned_request(gpubuf::dtype::f32, {64, 1000}).owned_by("model-b").with_twin());
  {
    auto rows = staging.begin_write<float>();
    for (float& value : rows.span()) value = 1.0f;
  }
  staging.to_device(stream);
  staging.give_back();
  print("a step is queued", memory);

  // Too much for the budget: refused with the reason, or done with what there is.
  const auto refused = memory.allocate<gpubuf::no_throw>(8 << 20);
  if (refused) return 1;
  std::printf("refused: %s\n", gpubuf::last_error_message().c_str());
  const auto spill = memory.allocate(gpubuf::pinned_request(8 << 20).owned_by("model-b").or_pageable());
  if (spill.info().placement != GPUBUF_PLACEMENT_PAGEABLE) return 1;

  weights.clear();
  stream.synchronize();
  device.maintain();
  print("model-a is gone", memory);
  std::printf("%" PRIu64 " bytes went back to the driver\n", memory.trim());
  return memory.stats().locked_bytes == 0 ? 0 : 1;
}
