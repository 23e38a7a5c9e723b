// The block table of a key-value cache: each request's row names its blocks, and a step adds a few. Staged rows send just those.
#include <gpubuf/gpubuf.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr std::uint64_t max_blocks = 64;
constexpr std::uint64_t tokens_of_block = 4;

/// What the host knows of one request.
struct request {
  std::uint64_t tokens = 0;
  std::vector<std::int32_t> blocks;
};

}  // namespace

int main() {
  try {
    auto device = gpubuf::device::open();
    auto stream = gpubuf::stream::create(device);
    // Eight requests at first, and memory for as many: more make the table move.
    auto table = gpubuf::staged_rows<std::int32_t>::create(device, 8, max_blocks);
    auto address = table.device_address({stream});
    std::vector<request> requests(8);
    std::int32_t next_block = 1;

    for (int step = 0; step < 60; ++step) {
      if (step == 30) {  // More requests than the table has rows.
        requests.resize(12);
        if (table.grow(requests.size(), stream)) address = table.device_address({stream});
      }
      for (std::uint64_t row = 0; row < requests.size(); ++row) {
        request& it = requests[row];
        if ((step + static_cast<int>(row)) % 29 == 28) it = request();  // It is done, and another one takes its row.
        if (it.tokens++ % tokens_of_block != 0) continue;
        it.blocks.push_back(next_block++);
        table.stage(row, it.blocks.size() - 1, it.blocks.back());
      }
      table.apply(stream);
      // launch your kernels on `stream` with `address` here
    }

    // What they would find: the table as the host knows it.
    std::vector<std::int32_t> seen(requests.size() * max_blocks);
    gpubuf::host::call(stream, [&, address](gpubuf::host::view& memory) {
      memory.read(address, seen.data(), seen.size() * sizeof seen[0]);
    });
    stream.synchronize();
    for (std::uint64_t row = 0; row < requests.size(); ++row) {
      for (std::size_t i = 0; i < requests[row].blocks.size(); ++i) {
        if (seen[row * max_blocks + i] != requests[row].blocks[i]) return EXIT_FAILURE;
      }
    }
    const auto stats = table.stats();
    std::printf("%llu blocks in %llu applies: %llu copies, %llu bytes, where the table has %zu\n",
                static_cast<unsigned long long>(stats.writes), static_cast<unsigned long long>(stats.applies),
                static_cast<unsigned long long>(stats.copies), static_cast<unsigned long long>(stats.copied_bytes),
                seen.size() * sizeof seen[0]);
    return EXIT_SUCCESS;
  } catch (const gpubuf::error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
