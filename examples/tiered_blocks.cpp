// Key-value blocks of more requests than device memory has room for: the hot ones are there, and memory pressure sends some down.
#include <gpubuf/gpubuf.hpp>

#include <cstdint>
#include <cstdio>
#include <vector>

int main() {
  const std::uint64_t bytes = 64 << 10;
  auto device = gpubuf::device::open();
  auto stream = gpubuf::stream::create(device);

  gpubuf::tiers_options options;
  options.device_bytes = 8 * bytes;
  options.pinned_bytes = 12 * bytes;
  options.pageable_bytes = 24 * bytes;
  auto tiers = gpubuf::tiers::create(device, options);
  std::vector<gpubuf::tiered_block> blocks;
  for (std::uint32_t i = 0; i < 20; ++i) {
    blocks.push_back(tiers.create_block(bytes));
    blocks.back().begin_write<std::uint32_t>()[0] = i;
  }

  // Each step reads the blocks of its batch on the device, those of a shared prompt most of all.
  for (std::uint32_t step = 0; step < 40; ++step) {
    for (const std::uint32_t block : {0u, 1u, 2 + step % 18}) {
      const auto use = blocks[block].acquire(stream);
      static_cast<void>(use.device_address());  // launch(..., stream)
    }
    device.maintain();
  }
  const auto stats = tiers.stats();
  std::printf("%llu of %llu accesses found their block in device memory; %llu moves up, %llu down\n",
              static_cast<unsigned long long>(stats.hits), static_cast<unsigned long long>(stats.accesses),
              static_cast<unsigned long long>(stats.promotions), static_cast<unsigned long long>(stats.demotions));

  // Others want the device's memory: this watch reads that it is full, whatever it is.
  gpubuf::pressure_options pressure;
  pressure.read = [](std::uint32_t what, std::uint64_t* used, std::uint64_t* limit, void*) noexcept {
    if (what == GPUBUF_PRESSURE_DEVICE) *used = *limit = std::uint64_t{1} << 30;
  };
  auto watch = gpubuf::pressure::create(device, pressure);
  watch.add(tiers);
  for (int i = 0; i < 3; ++i) {
    watch.step();
    device.synchronize();
    tiers.step();
  }
  std::printf("under pressure %llu blocks are left in device memory\n",
              static_cast<unsigned long long>(tiers.tier(gpubuf::placement::device).blocks));
  for (std::uint32_t i = 0; i < 20; ++i) {
    if (blocks[i].begin_read<std::uint32_t>()[0] != i) return 1;
  }
  return 0;
}
