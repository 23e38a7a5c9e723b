// What this machine can do: its devices, what works on one of them, what the system allows, and the report.
#include <gpubuf/gpubuf.hpp>

#include <cstdio>
#include <string>

namespace {

std::string bytes(std::uint64_t count) {
  if (count == GPUBUF_UNKNOWN) return "no limit, or not known";
  char text[64];
  if (count < 10240) {
    std::snprintf(text, sizeof text, "%llu bytes", static_cast<unsigned long long>(count));
  } else {
    std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(count) / (1 << 20));
  }
  return text;
}

const char* word(gpubuf::answer of) {
  return of == gpubuf::answer::yes ? "yes" : of == gpubuf::answer::no ? "no" : "not tested";
}

}  // namespace

/// `probe`, or `probe NAME`: "cuda:1", "host", "GPU-8932f937", ...
int main(int count, char** arguments) try {
  for (const auto backend : {gpubuf::backend::cuda, gpubuf::backend::host}) {
    const auto devices = gpubuf::device::count<gpubuf::no_throw>(backend);
    for (std::uint32_t ordinal = 0; devices.ok() && ordinal < *devices; ++ordinal) {
      const auto found = gpubuf::device::summary(backend, ordinal);
      std::printf("%s:%u  %s, %s%s\n", backend == gpubuf::backend::cuda ? "cuda" : "host", ordinal, found.name,
                  bytes(found.memory_bytes).c_str(), found.simulation != 0 ? ", a simulation" : "");
    }
  }

  const auto device = count > 1 ? gpubuf::device::open(arguments[1]) : gpubuf::device::open();
  std::printf("\n%s\n  %s\n", device.name().c_str(), device.why_backend().c_str());
  const auto found = device.probe();
  const struct {
    gpubuf::capability of;
    const char* name;
  } capabilities[] = {
      {gpubuf::capability::sees_host_writes, "sees later host writes"}, {gpubuf::capability::pinned_memory, "pinned memory"},
      {gpubuf::capability::registered_memory, "registered memory"},     {gpubuf::capability::memory_pools, "memory pools"},
      {gpubuf::capability::host_pools, "host pools"},                   {gpubuf::capability::managed_memory, "managed memory"},
      {gpubuf::capability::integrated, "integrated"},                   {gpubuf::capability::huge_pages, "huge pages"},
  };
  for (const auto& capability : capabilities) {
    std::printf("  %-23s %-10s %s\n", capability.name, word(found[capability.of]), device.why(capability.of).c_str());
  }
  std::printf("  %-23s %d of the device, %d of this thread's memory\n", "memory node", found.device_numa_node, found.thread_numa_node);
  std::printf("  %-23s %s free of %s\n", "device memory", bytes(found.device_free_bytes).c_str(), bytes(found.device_total_bytes).c_str());
  std::printf("  %-23s %s available of %s\n", "host memory", bytes(found.host_available_bytes).c_str(), bytes(found.host_total_bytes).c_str());
  std::printf("  %-23s %s, room for %s\n", "control group limit", bytes(found.cgroup_limit_bytes).c_str(), bytes(found.cgroup_room_bytes).c_str());
  std::printf("  %-23s %s, %s used\n", "RLIMIT_MEMLOCK", bytes(found.memlock_limit_bytes).c_str(), bytes(found.memlock_used_bytes).c_str());

  // Something for the report to show: a buffer that a copy has used.
  const auto stream = gpubuf::stream::create(device);
  auto buffer = gpubuf::buffer::create<float>(device, {1024});
  gpubuf::set_label(buffer, "inputs");
  buffer.to_device(stream);
  stream.synchronize();
  std::printf("\n%s", gpubuf::report().c_str());
  return 0;
} catch (const gpubuf::error& error) {
  std::fprintf(stderr, "probe: %s\n", error.what());
  return 1;
}
