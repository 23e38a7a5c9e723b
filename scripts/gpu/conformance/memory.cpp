// Page-locked memory: registrations that meet, addresses, flags; and what is refused.
#include "kit.hpp"

#include <unistd.h>

namespace {

std::string flags_of(void* host) {
  unsigned flags = 0;
  const int result = cu::cuMemHostGetFlags(&flags, host);
  return result == 0 ? "flags " + std::to_string(flags) : code(result);
}

std::string address_of(unsigned char* host, unsigned offset = 0) {
  cu::address address = 0;
  const int result = cu::cuMemHostGetDevicePointer_v2(&address, host + offset, 0);
  if (result != 0) return code(result);
  return address == cu::at(host + offset) ? "the host's" : "another";
}

std::string sort_of(cu::address address) {
  int sort = 0;
  const int result = cu::cuPointerGetAttribute(&sort, 2 /* CU_POINTER_ATTRIBUTE_MEMORY_TYPE */, address);
  return result == 0 ? "type " + std::to_string(sort) : code(result);
}

void registrations() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  PageableMemory memory(16 * page);
  unsigned char* at = memory.data;
  const auto add = [&](std::size_t first, std::size_t bytes) { return cu::cuMemHostRegister_v2(at + first, bytes, cu::portable_mapped); };
  const auto remove = [&](std::size_t first) { return cu::cuMemHostUnregister(at + first); };
  answer_code("register.first", add(0, 4 * page));
  answer_code("register.twice", add(0, 4 * page));
  answer_code("register.overlapping", add(2 * page, 4 * page));
  answer_code("register.inside", add(page, page));
  answer_code("register.around", add(0, 8 * page));
  answer_code("register.of_no_bytes", add(8 * page, 0));
  answer_code("register.unknown_flags", cu::cuMemHostRegister_v2(at + 8 * page, page, 1u << 12));
  answer("registered.flags", flags_of(at));
  answer("registered.flags_inside", flags_of(at + page + 8));
  answer("registered.device_address", address_of(at));
  answer("registered.device_address_inside", address_of(at, 4104));
  answer("registered.type", sort_of(cu::at(at)));
  answer_code("unregister.inside", remove(page));
  answer_code("unregister.unknown", remove(8 * page));

  // A second registration beside the first, and copies that go over the border, and over the end.
  answer_code("register.beside", add(4 * page, 4 * page));
  Stream stream;
  DeviceMemory device(8 * page);
  std::memset(at, 3, 8 * page);
  answer_code("across_two_registrations.to_device", cu::cuMemcpyHtoDAsync_v2(device.address, at, 8 * page, stream));
  answer_code("across_two_registrations.to_host", cu::cuMemcpyDtoHAsync_v2(at, device.address, 8 * page, stream));
  answer_code("over_the_end_of_a_registration.to_device", cu::cuMemcpyHtoDAsync_v2(device.address, at + 6 * page, 4 * page, stream));
  answer_code("inside_one_of_two_registrations.to_device", cu::cuMemcpyHtoDAsync_v2(device.address, at + 4 * page, 4 * page, stream));
  stream.sync();
  answer_code("unregister.second", remove(4 * page));
  answer_code("unregister.first", remove(0));
  answer_code("unregister.again", remove(0));

  // Ranges that are not whole pages.
  answer_code("register.part_of_a_page", add(64, 128));
  answer("register.part_of_a_page.device_address", address_of(at, 64));
  answer_code("register.another_part_of_the_page", add(1024, 128));
  answer_code("unregister.another_part_of_the_page", remove(1024));
  answer_code("unregister.part_of_a_page", remove(64));
}

}  // namespace

void memory() {
  registrations();
  {
    PageableMemory pageable(8192);
    PinnedMemory pinned(8192), plain(8192, 0), combined(8192, 4);
    answer("pageable.flags", flags_of(pageable.data));
    answer("pageable.device_address", address_of(pageable.data));
    answer("pageable.type", sort_of(cu::at(pageable.data)));
    answer("pinned.flags", flags_of(pinned.data));
    answer("pinned.flags_inside", flags_of(pinned.data + 100));
    answer("pinned.device_address", address_of(pinned.data));
    answer("pinned.device_address_inside", address_of(pinned.data, 100));
    answer("pinned.type", sort_of(cu::at(pinned.data)));
    answer("pinned_without_flags.flags", flags_of(plain.data));
    answer("pinned_without_flags.device_address", address_of(plain.data));
    answer("write_combined.flags", flags_of(combined.data));
    answer("write_combined.device_address", address_of(combined.data));
    answer_code("pinned.register", cu::cuMemHostRegister_v2(pinned.data, 4096, cu::portable_mapped));
    answer_code("pinned.unregister", cu::cuMemHostUnregister(pinned.data));
    answer_code("pageable.free_host", cu::cuMemFreeHost(pageable.data));
  }
  {
    void* host = nullptr;
    cu::address device = 0;
    answer_code("pinned.of_no_bytes", cu::cuMemHostAlloc(&host, 0, cu::portable_mapped));
    answer_code("pinned.unknown_flags", cu::cuMemHostAlloc(&host, 4096, 1u << 12));
    answer_code("pinned.too_large", cu::cuMemHostAlloc(&host, std::size_t{1} << 50, cu::portable_mapped));
    answer_code("device.of_no_bytes", cu::cuMemAlloc_v2(&device, 0));
    answer_code("device.too_large", cu::cuMemAlloc_v2(&device, std::size_t{1} << 50));
    answer_code("device.free_null", cu::cuMemFree_v2(0));
    DeviceMemory memory(8192);
    answer_code("device.free_inside", cu::cuMemFree_v2(memory.address + 64));
    answer("device.type", sort_of(memory.address));
    answer("device.alignment_256", memory.address % 256 == 0);
  }
}
