// What there is: the GPU, its driver, and what the library and the driver say that they can do. Lines of JSON.
#include "driver.hpp"
#include "lines.hpp"

#include <cstring>
#include <vector>

namespace {

struct Attribute {
  int number;
  const char* name;
};

const Attribute attributes[] = {
    {75, "compute_capability_major"}, {76, "compute_capability_minor"}, {16, "multiprocessors"}, {40, "async_engines"},
    {35, "ecc"}, {18, "integrated"}, {41, "unified_addressing"}, {19, "can_map_host_memory"}, {83, "managed_memory"},
    {89, "concurrent_managed_access"}, {88, "pageable_memory_access"}, {100, "pageable_access_uses_host_page_tables"},
    {91, "can_use_host_pointer_for_registered_memory"}, {92, "can_use_stream_mem_ops_v1"}, {93, "can_use_64_bit_stream_mem_ops_v1"},
    {94, "can_use_stream_wait_value_nor_v1"}, {122, "can_use_64_bit_stream_mem_ops"}, {123, "can_use_stream_wait_value_nor"},
    {99, "host_register_supported"}, {113, "read_only_host_register_supported"}, {115, "memory_pools_supported"},
    {116, "gpu_direct_rdma"}, {124, "dma_buf_supported"}, {134, "host_numa_id"}, {128, "handle_type_fabric"}, {142, "host_numa_memory_pools"}, {144, "host_memory_pools"},
};

}  // namespace

int main(int count, char** arguments) {
  cu::load(lines::option(count, arguments, "driver", cu::path_of_library()));
  int version = 0, devices = 0;
  cu::must(cu::cuInit(0), "cuInit");
  cu::cuDriverGetVersion(&version);
  cu::cuDeviceGetCount(&devices);
  lines::Line("driver").put("cuda", version).put("devices", devices).put("simulation", cu::is_simulation).print("info");
  std::string missing;
#define GPUBUF_MISSING(name, parameters) \
  if (cu::name == nullptr) missing += std::string(missing.empty() ? "" : " ") + #name;
  GPUBUF_DRIVER_ENTRIES(GPUBUF_MISSING)
#undef GPUBUF_MISSING
  lines::Line("entries that the driver lacks").put("names", missing).print(missing.empty() ? "pass" : "info");
  for (int ordinal = 0; ordinal < devices; ++ordinal) {
    cu::device device = 0;
    char name[256] = "", bus[32] = "";
    std::size_t memory = 0;
    cu::must(cu::cuDeviceGet(&device, ordinal), "cuDeviceGet");
    cu::cuDeviceGetName(name, sizeof name, device);
    cu::cuDeviceGetPCIBusId(bus, sizeof bus, device);
    cu::cuDeviceTotalMem_v2(&memory, device);
    lines::Line line("device " + std::to_string(ordinal));
    line.put("name", name).put("bus", bus).put("bytes", memory);
    for (const Attribute& attribute : attributes) {
      int value = 0;
      if (cu::cuDeviceGetAttribute(&value, attribute.number, device) == 0) line.put(attribute.name, value);
    }
    line.print("info");
  }
  // What works, not only what is said to: each in the primary context of the first device.
  cu::context context = nullptr;
  cu::must(cu::cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
  cu::must(cu::cuCtxSetCurrent(context), "cuCtxSetCurrent");
  const auto probe = [](const char* name, int code) { lines::Line(name).put("code", code).print(code == 0 ? "pass" : "info"); };
  std::vector<unsigned char> pageable(3 * 4096);
  auto* page = reinterpret_cast<unsigned char*>((reinterpret_cast<std::uintptr_t>(pageable.data()) + 4095) & ~std::uintptr_t{4095});
  const int registered = cu::cuMemHostRegister_v2(page, 4096, cu::portable_mapped);
  probe("probe: register host memory", registered);
  if (registered == 0) cu::cuMemHostUnregister(page);
  cu::address managed = 0;
  const int managed_code = cu::cuMemAllocManaged(&managed, 4096, 1);
  probe("probe: managed memory", managed_code);
  if (managed_code == 0) cu::cuMemFree_v2(managed);
  cu::stream stream = nullptr;
  cu::must(cu::cuStreamCreate(&stream, cu::non_blocking), "cuStreamCreate");
  cu::address ordered = 0;
  const int ordered_code = cu::cuMemAllocAsync(&ordered, 4096, stream);
  probe("probe: stream-ordered memory", ordered_code);
  if (ordered_code == 0) cu::cuMemFreeAsync(ordered, stream);
  void* host = nullptr;
  cu::address at = 0;
  cu::must(cu::cuMemHostAlloc(&host, 4096, cu::portable_mapped), "cuMemHostAlloc");
  std::memset(host, 0, 4096);
  cu::must(cu::cuMemHostGetDevicePointer_v2(&at, host, 0), "cuMemHostGetDevicePointer");
  probe("probe: a stream waits for a value", cu::cuStreamWaitValue32_v2(stream, at, 0, cu::at_least));
  probe("probe: a stream writes a value", cu::cuStreamWriteValue32_v2(stream, at + 64, 7, 0));
  probe("probe: the stream ends", cu::cuStreamSynchronize(stream));
  lines::Line("probe: the value arrives in page-locked memory")
      .print(static_cast<volatile unsigned char*>(host)[64] == 7 ? "pass" : "fail");
  return 0;
}
