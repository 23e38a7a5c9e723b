// Prompts of different lengths become one batch on the device, and its results go back to their prompts.
#include <gpubuf/gpubuf.hpp>

#include <cstdint>
#include <cstdio>
#include <vector>

namespace ops = gpubuf::ops;

int main() try {
  using tokens = std::vector<std::int32_t>;
  const std::vector<tokens> prompts{{11, 12, 13}, {21}, {31, 32}};
  const std::size_t count = prompts.size(), multiple = 4, most = 8;

  auto device = gpubuf::device::open();  // the GPU, or else an emulated one
  auto stream = gpubuf::stream::create(device);
  auto ids = gpubuf::buffer::create<std::int32_t>(device, {most});
  auto starts = gpubuf::buffer::create<std::int32_t>(device, {count + 1});

  // The tokens one behind the other, up to a size that kernels like, straight into pinned memory.
  std::size_t total = 0;
  std::uint64_t padded = 0;
  {
    auto flat = ids.begin_write<std::int32_t>();
    auto offsets = starts.begin_write<std::int32_t>();
    total = ops::flatten(prompts, flat, offsets);
    padded = ops::pad_in_place(flat, {total}, 0, multiple, -1);
  }
  ids.to_device(stream, 0, padded);
  starts.to_device(stream);
  std::printf("%zu prompts, %zu tokens, padded to %u\n", count, total, static_cast<unsigned>(padded));

  // What came back is seen prompt by prompt, without a copy.
  ids.to_host(stream);
  starts.to_host(stream);
  auto flat = ids.begin_read<std::int32_t>();
  auto offsets = starts.begin_read<std::int32_t>();
  std::vector<ops::piece<const std::int32_t>> pieces(count);
  ops::split(flat, offsets, pieces);

  // The last token of each prompt, as a sampler wants them.
  std::vector<std::int32_t> last, picked(count);
  for (std::size_t i = 0; i < count; ++i) last.push_back(offsets[i + 1] - 1);
  ops::gather(flat, last, picked);

  bool same = true;
  for (std::size_t i = 0; i < count; ++i) {
    same = same && tokens(pieces[i].begin(), pieces[i].end()) == prompts[i] && picked[i] == prompts[i].back();
    std::printf("prompt %zu: %zu tokens, the last is %d\n", i, pieces[i].size(), static_cast<int>(picked[i]));
  }
  return same && padded == 8 && flat[6] == -1 ? 0 : 1;
} catch (const gpubuf::error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
