// A matrix in two halves: the CPU fills the left one while the device works on the right one, and one call brings both sides
// together. Each half is one copy, and neither waits for the other.
#include <gpubuf/gpubuf.hpp>

#include <cstdint>
#include <cstdio>
#include <vector>

int main() try {
  constexpr std::uint64_t rows = 64, columns = 128, half = columns / 2;
  auto device = gpubuf::device::open();  // the GPU, or else an emulated one
  auto stream = gpubuf::stream::create(device);
  auto matrix = gpubuf::buffer::create<float>(device, {rows, columns});
  auto left = matrix.window(0, gpubuf::all, 0, half);
  auto right = matrix.window(0, gpubuf::all, half, half);

  right.fill(2.0f, stream, gpubuf::side::device);  // queued: the right half is newer on the device
  {
    auto cells = left.begin_write_strided<float>();  // not held up by it
    for (std::uint64_t row = 0; row < rows; ++row) {
      for (std::uint64_t column = 0; column < half; ++column) cells(row, column) = 1.0f;
    }
  }
  for (auto side : {gpubuf::side::host, gpubuf::side::device}) {
    for (const auto& range : matrix.dirty_ranges(side)) {
      std::printf("newer on the %s: %llu rows of %llu elements from %llu on\n", side == gpubuf::side::host ? "host" : "device",
                  static_cast<unsigned long long>(range.rows), static_cast<unsigned long long>(range.count),
                  static_cast<unsigned long long>(range.first));
    }
  }
  matrix.sync_blocking(stream);  // the left half up, the right half down
  const auto stats = matrix.stats();
  std::printf("%llu copy up, %llu copy down\n", static_cast<unsigned long long>(stats.to_device_copies),
              static_cast<unsigned long long>(stats.to_host_copies));

  // Both halves are on the host now: its rows are 1 ... 1 2 ... 2.
  std::vector<float> row(columns);
  matrix.slice(rows - 1).copy_out(row);
  return row[half - 1] == 1.0f && row[half] == 2.0f && stats.to_device_copies == 1 && stats.to_host_copies == 1 ? 0 : 1;
} catch (const gpubuf::error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
