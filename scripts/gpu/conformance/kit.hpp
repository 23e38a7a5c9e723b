// What the script of calls is made of: answers, streams held shut, calls that may block, and a look at what ran.
#pragma once

#include "../driver.hpp"

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

/// Every name said from now on begins with the group's.
void prefix(const std::string& group);
/// Prints `name = value`. A name is said once in a run.
void answer(const std::string& name, const std::string& value);
inline void answer(const std::string& name, const char* value) { answer(name, std::string(value)); }
inline void answer(const std::string& name, bool value) { answer(name, std::string(value ? "yes" : "no")); }

/// A result code: its number, and its name where it has a meaning here.
std::string code(int result);
inline void answer_code(const std::string& name, int result) { answer(name, code(result)); }

/// The primary context of device 0, current on the calling thread while this lives.
class Session {
 public:
  Session();
  ~Session();
  cu::context context = nullptr;
  cu::device device = 0;
};

/// Runs `body` on another thread, with the context of this one current there, and waits for it.
void on_other_thread(const std::function<void()>& body);

struct Stream {
  explicit Stream(unsigned flags = cu::non_blocking);
  ~Stream();
  Stream(const Stream&) = delete;
  void sync() const;
  operator cu::stream() const { return handle; }
  cu::stream handle = nullptr;
};

struct Event {
  explicit Event(unsigned flags = cu::disable_timing);
  ~Event();
  Event(const Event&) = delete;
  operator cu::event() const { return handle; }
  cu::event handle = nullptr;
};

/// Device memory, zeroed.
struct DeviceMemory {
  explicit DeviceMemory(std::size_t bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  void set(unsigned char value) const;
  std::vector<unsigned char> get() const;
  cu::address address = 0;
  std::size_t bytes;
};

/// Page-locked memory, zeroed.
struct PinnedMemory {
  explicit PinnedMemory(std::size_t bytes, unsigned flags = cu::portable_mapped);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  unsigned char* data = nullptr;
  std::size_t bytes;
};

/// Ordinary memory on pages of its own, zeroed.
struct PageableMemory {
  explicit PageableMemory(std::size_t bytes);
  ~PageableMemory();
  PageableMemory(const PageableMemory&) = delete;
  unsigned char* data = nullptr;
  std::size_t bytes;
};

/// Keeps a stream shut, by a value that it waits for, until it is released.
class Hold {
 public:
  explicit Hold(cu::stream stream);
  ~Hold() { release(); }
  Hold(const Hold&) = delete;
  void release();
  /// Makes a call. If it has not returned after a while, the stream is opened: true then, the call had waited for it.
  bool blocks(const std::function<void()>& call);

 private:
  std::atomic<std::uint32_t>* word_;
};

/// Whether an event completes although something is held: waits long for a yes, and briefly for a no.
bool completes(cu::event event, bool expected);
/// The same for work queued on a stream now: it completes as soon as the stream comes to it.
bool runs(cu::stream stream, bool expected);

/// "A" or "B" where all bytes are that, else "mixed".
std::string which(const unsigned char* data, std::size_t bytes, unsigned char a, unsigned char b);

/// "4 KiB" and the like, for names: "4KiB".
std::string size_name(std::size_t bytes);

/// The groups of the script. Each runs in a process of its own.
void copies();
void order();
void legacy_held();
void events();
void capture_modes();
void capture_shapes();
void capture_copies();
void memory();
void blocking();
void contexts();
void fills();
void values();
void host_function();
