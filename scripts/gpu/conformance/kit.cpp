#include "kit.hpp"

#include <sys/mman.h>

#include <condition_variable>
#include <mutex>
#include <set>

using namespace std::chrono_literals;

namespace {

// A call that waits for a held stream waits for ever; one that does not is back much sooner, on a busy machine too.
constexpr auto blocked_after = 3s;
// Work that may not run never does, so this only bounds how surely a driver that runs it anyway is caught.
constexpr auto brief = 200ms;
constexpr auto ages = 20s;

std::string current_group;

}  // namespace

void prefix(const std::string& group) { current_group = group + "."; }

void answer(const std::string& short_name, const std::string& value) {
  static std::set<std::string> said;
  const std::string name = current_group + short_name;
  if (!said.insert(name).second) cu::fail("the script says " + name + " twice");
  std::printf("%s = %s\n", name.c_str(), value.c_str());
  std::fflush(stdout);
}

std::string code(int result) {
  struct Named {
    int code;
    const char* name;
  };
  static const Named names[] = {
      {0, "SUCCESS"}, {1, "INVALID_VALUE"}, {2, "OUT_OF_MEMORY"}, {3, "NOT_INITIALIZED"}, {4, "DEINITIALIZED"},
      {100, "NO_DEVICE"}, {101, "INVALID_DEVICE"}, {201, "INVALID_CONTEXT"}, {202, "CONTEXT_ALREADY_CURRENT"},
      {400, "INVALID_HANDLE"}, {401, "ILLEGAL_STATE"}, {600, "NOT_READY"}, {700, "ILLEGAL_ADDRESS"},
      {708, "PRIMARY_CONTEXT_ACTIVE"}, {709, "CONTEXT_IS_DESTROYED"}, {712, "HOST_MEMORY_ALREADY_REGISTERED"},
      {713, "HOST_MEMORY_NOT_REGISTERED"}, {716, "MISALIGNED_ADDRESS"}, {800, "NOT_PERMITTED"}, {801, "NOT_SUPPORTED"},
      {900, "STREAM_CAPTURE_UNSUPPORTED"}, {901, "STREAM_CAPTURE_INVALIDATED"}, {902, "STREAM_CAPTURE_MERGE"},
      {903, "STREAM_CAPTURE_UNMATCHED"}, {904, "STREAM_CAPTURE_UNJOINED"}, {905, "STREAM_CAPTURE_ISOLATION"},
      {906, "STREAM_CAPTURE_IMPLICIT"}, {907, "CAPTURED_EVENT"}, {908, "STREAM_CAPTURE_WRONG_THREAD"}};
  for (const Named& named : names) {
    if (named.code == result) return std::to_string(result) + " " + named.name;
  }
  return std::to_string(result);
}

Session::Session() {
  cu::must(cu::cuInit(0), "cuInit");
  cu::must(cu::cuDeviceGet(&device, 0), "cuDeviceGet");
  cu::must(cu::cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  cu::must(cu::cuCtxSetCurrent(context), "cuCtxSetCurrent");
}

Session::~Session() {
  cu::cuCtxSetCurrent(nullptr);
  cu::cuDevicePrimaryCtxRelease_v2(device);
}

void on_other_thread(const std::function<void()>& body) {
  cu::context current = nullptr;
  cu::must(cu::cuCtxGetCurrent(&current), "cuCtxGetCurrent");
  std::thread([&] {
    cu::must(cu::cuCtxSetCurrent(current), "cuCtxSetCurrent");
    body();
  }).join();
}

Stream::Stream(unsigned flags) { cu::must(cu::cuStreamCreate(&handle, flags), "cuStreamCreate"); }
Stream::~Stream() {
  if (handle != nullptr) cu::cuStreamDestroy_v2(handle);
}
void Stream::sync() const { cu::must(cu::cuStreamSynchronize(handle), "cuStreamSynchronize"); }

Event::Event(unsigned flags) { cu::must(cu::cuEventCreate(&handle, flags), "cuEventCreate"); }
Event::~Event() {
  if (handle != nullptr) cu::cuEventDestroy_v2(handle);
}

DeviceMemory::DeviceMemory(std::size_t count) : bytes(count) {
  cu::must(cu::cuMemAlloc_v2(&address, bytes), "cuMemAlloc");
  set(0);
}
DeviceMemory::~DeviceMemory() {
  if (address != 0) cu::cuMemFree_v2(address);
}
void DeviceMemory::set(unsigned char value) const {
  Stream own;
  cu::must(cu::cuMemsetD8Async(address, value, bytes, own), "cuMemsetD8Async");
  own.sync();
}
std::vector<unsigned char> DeviceMemory::get() const {
  Stream own;
  PinnedMemory host(bytes);
  cu::must(cu::cuMemcpyDtoHAsync_v2(host.data, address, bytes, own), "cuMemcpyDtoHAsync");
  own.sync();
  return {host.data, host.data + bytes};
}

PinnedMemory::PinnedMemory(std::size_t count, unsigned flags) : bytes(count) {
  void* host = nullptr;
  cu::must(cu::cuMemHostAlloc(&host, bytes, flags), "cuMemHostAlloc");
  data = static_cast<unsigned char*>(host);
  std::memset(data, 0, bytes);
}
PinnedMemory::~PinnedMemory() {
  if (data != nullptr) cu::cuMemFreeHost(data);
}

PageableMemory::PageableMemory(std::size_t count) : bytes(count) {
  void* host = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (host == MAP_FAILED) cu::fail("no memory");
  data = static_cast<unsigned char*>(host);
  std::memset(data, 0, bytes);
}
PageableMemory::~PageableMemory() { munmap(data, bytes); }

Hold::Hold(cu::stream stream) {
  // Words are allocated before any stream is held: allocating may wait for streams.
  constexpr std::size_t words = 1024;
  static std::atomic<std::uint32_t>* first = nullptr;
  static cu::address address = 0;
  static std::size_t used = 0;
  if (first == nullptr) {
    void* host = nullptr;
    cu::must(cu::cuMemHostAlloc(&host, words * sizeof(std::uint32_t), cu::portable_mapped), "cuMemHostAlloc");
    std::memset(host, 0, words * sizeof(std::uint32_t));
    cu::must(cu::cuMemHostGetDevicePointer_v2(&address, host, 0), "cuMemHostGetDevicePointer");
    first = static_cast<std::atomic<std::uint32_t>*>(host);
  }
  if (used == words) cu::fail("more holds than words");
  word_ = first + used;
  cu::must(cu::cuStreamWaitValue32_v2(stream, address + 4 * used, 1, cu::at_least), "cuStreamWaitValue32");
  ++used;
}

void Hold::release() { word_->store(1, std::memory_order_release); }

bool Hold::blocks(const std::function<void()>& call) {
  std::mutex mutex;
  std::condition_variable changed;
  bool returned = false, opened = false;
  std::thread watch([&] {
    std::unique_lock<std::mutex> lock(mutex);
    if (!changed.wait_for(lock, blocked_after, [&] { return returned; })) {
      opened = true;
      release();
    }
  });
  call();
  {
    std::lock_guard<std::mutex> lock(mutex);
    returned = true;
  }
  changed.notify_all();
  watch.join();
  return opened;
}

bool completes(cu::event event, bool expected) {
  const auto end = std::chrono::steady_clock::now() + (expected ? std::chrono::milliseconds(ages) : brief);
  do {
    const int state = cu::cuEventQuery(event);
    if (state == 0) return true;
    if (state != cu::not_ready) cu::fail("an event could not be asked: " + code(state));
    std::this_thread::sleep_for(1ms);
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

bool runs(cu::stream stream, bool expected) {
  Event event;
  cu::must(cu::cuEventRecord(event, stream), "cuEventRecord");
  return completes(event, expected);
}

std::string which(const unsigned char* data, std::size_t bytes, unsigned char a, unsigned char b) {
  std::size_t of_a = 0, of_b = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    of_a += data[i] == a;
    of_b += data[i] == b;
  }
  if (of_a == bytes) return "A";
  if (of_b == bytes) return "B";
  return "mixed";
}

std::string size_name(std::size_t bytes) {
  if (bytes >= (1u << 20) && bytes % (1u << 20) == 0) return std::to_string(bytes >> 20) + "MiB";
  if (bytes >= 1024 && bytes % 1024 == 0) return std::to_string(bytes >> 10) + "KiB";
  return std::to_string(bytes) + "B";
}
