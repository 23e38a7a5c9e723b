// The archive instead of the shared library: links, runs, and answers as the same version.
#include <gpubuf/gpubuf.hpp>

#include <cstdio>
#include <vector>

int main() try {
  const auto device = gpubuf::device::open(gpubuf::backend::host);
  const auto stream = gpubuf::stream::create(device);
  auto buffer = gpubuf::buffer::create<int>(device, {4});
  buffer.copy_in(std::vector<int>{1, 2, 3, 4});
  buffer.to_device(stream);
  buffer.zero_host();
  buffer.to_host(stream);
  const bool same = buffer.begin_read<int>()[3] == 4;
  std::printf("gpubuf %s: %s\n", gpubuf::version_string(), same ? "ok" : "wrong bytes");
  return same ? 0 : 1;
} catch (const gpubuf::error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
