// What the checks cost: each operation of the library against what people write by hand, in one process, in turns.
//
// Every figure is the median over rounds of a loop's time per operation; in each round every variant runs once, so that a
// slow spell of the machine hits all of them. Ratios inside a table carry over to other machines, nanoseconds do not.
#include <gpubuf/gpubuf.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

void check(gpubuf_status status, const char *what) {
  if (status == GPUBUF_OK) return;
  char message[1024];
  gpubuf_last_error_message(message, sizeof message);
  std::fprintf(stderr, "%s: %s\n", what, message);
  std::exit(1);
}

template <class T>
void keep(T &value) {
  asm volatile("" : "+m"(value) : : "memory");
}

struct variant {
  std::string name;
  std::function<void(int)> run;  // does the operation that many times
  std::vector<double> times{};
};

// Runs every variant in turns and prints medians, and each one's ratio to the variant named as the peer.
void table(const char *title, std::vector<variant> variants, int operations, std::size_t peer) {
  constexpr int rounds = 25;
  for (variant &v : variants) v.run(operations);  // warm
  for (int round = 0; round < rounds; ++round) {
    for (variant &v : variants) {
      auto start = std::chrono::steady_clock::now();
      v.run(operations);
      std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
      v.times.push_back(time.count() / operations);
    }
  }
  std::printf("\n%s (median of %d rounds of %d, in turns)\n", title, rounds, operations);
  // The ratio is taken round by round: what slows one variant down slows its neighbour, too.
  for (variant &v : variants) {
    std::vector<double> ratios;
    for (int round = 0; round < rounds; ++round)
      ratios.push_back(v.times[static_cast<std::size_t>(round)] / variants[peer].times[static_cast<std::size_t>(round)]);
    std::vector<double> sorted = v.times;
    std::sort(sorted.begin(), sorted.end());
    std::sort(ratios.begin(), ratios.end());
    std::printf("  %-64s %10.1f ns   %6.2f x\n", v.name.c_str(), sorted[rounds / 2], ratios[rounds / 2]);
  }
}

// ---- acquire and release ----------------------------------------------------------------------------------------------

// The pool people write: a mutex and a vector of free indices. No fences, no state, no waiters.
class hand_made_pool {
 public:
  explicit hand_made_pool(int blocks) {
    for (int i = 0; i < blocks; ++i) free_.push_back(i);
  }
  __attribute__((noinline)) int acquire() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return -1;
    int block = free_.back();
    free_.pop_back();
    return block;
  }
  __attribute__((noinline)) void release(int block) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(block);
  }

 private:
  std::mutex mutex_;
  std::vector<int> free_;
};

void acquire_and_release(gpubuf_device *device) {
  gpubuf_pool_options options;
  gpubuf_pool_options_init(&options, sizeof options);
  options.placement = GPUBUF_PLACEMENT_UVA;
  options.block_bytes = 4096;
  options.block_count = 64;
  gpubuf_pool *pool = nullptr;
  check(gpubuf_pool_create(device, &options, &pool), "pool");
  gpubuf_stream *stream = nullptr;
  check(gpubuf_stream_create(device, &stream), "stream");
  hand_made_pool by_hand(64);
  table("acquire and release one of 64 blocks",
        {{"by hand: std::mutex and a vector, no fence",
          [&](int n) {
            for (int i = 0; i < n; ++i) {
              int block = by_hand.acquire();
              keep(block);
              by_hand.release(block);
            }
          }},
         {"gpubuf_pool_acquire, gpubuf_block_release",
          [&](int n) {
            for (int i = 0; i < n; ++i) {
              gpubuf_block *block = nullptr;
              check(gpubuf_pool_acquire(pool, 0, GPUBUF_TIMEOUT_TRY, &block), "acquire");
              check(gpubuf_block_release(block), "release");
            }
          }}},
        100000, 0);
  gpubuf_stream_destroy(stream);
  gpubuf_pool_destroy(pool);
}

// ---- packing a step ---------------------------------------------------------------------------------------------------

struct step_arena {
  static constexpr std::size_t slots = 16;
  std::size_t bytes[slots];
  unsigned char *source[slots];
};

// Memory whose address is `target + ahead` modulo the page, or `target` itself for 0.
unsigned char *source_like(std::vector<std::unique_ptr<unsigned char[]>> &owner, const void *target, std::size_t ahead,
                           std::size_t bytes) {
  owner.push_back(std::make_unique<unsigned char[]>(bytes + 3 * 4096));
  auto base = reinterpret_cast<std::uintptr_t>(owner.back().get());
  std::uintptr_t wanted = (reinterpret_cast<std::uintptr_t>(target) - ahead) & 4095;
  std::uintptr_t at = (base & ~std::uintptr_t{4095}) + 4096 + wanted;
  auto *source = reinterpret_cast<unsigned char *>(at);
  std::memset(source, 1, bytes);
  return source;
}

void pack_a_step(gpubuf_device *device, std::size_t ahead) {
  gpubuf_slots_options slots_options;
  gpubuf_slots_options_init(&slots_options, sizeof slots_options);
  gpubuf_slots *slots = nullptr;
  check(gpubuf_slots_create(device, &slots_options, &slots), "slots");
  std::size_t sizes[step_arena::slots];
  for (std::size_t i = 0; i < step_arena::slots; ++i) sizes[i] = i < 8 ? 1024 : i < 12 ? 8192 : 32768;
  for (std::size_t i = 0; i < step_arena::slots; ++i) {
    gpubuf_slot_options options;
    gpubuf_slot_options_init(&options, sizeof options);
    std::string name = "slot " + std::to_string(i);
    options.dtype = GPUBUF_DTYPE_U8;
    options.rank = 1;
    options.shape[0] = sizes[i];
    options.name = name.c_str();
    std::uint32_t slot = 0;
    check(gpubuf_slots_add(slots, &options, &slot), "slot");
  }
  check(gpubuf_slots_freeze(slots), "freeze");

  // Where the slots lie, to place the sources relative to them: entries start on a page.
  std::vector<std::unique_ptr<unsigned char[]>> owner;
  unsigned char *source[step_arena::slots];
  std::size_t offset = 0;
  std::size_t total = 0;
  for (std::size_t i = 0; i < step_arena::slots; ++i) {
    gpubuf_slot_info info;
    info.struct_size = sizeof info;
    check(gpubuf_slots_slot_info(slots, static_cast<std::uint32_t>(i), &info), "info");
    offset = info.offset;
    source[i] = source_like(owner, reinterpret_cast<void *>(offset), ahead, sizes[i]);
    total = std::max(total, offset + sizes[i]);
  }
  // A resident arena of the same layout in pinned memory, for the loop of memcpy.
  gpubuf_buffer_options arena_options;
  gpubuf_buffer_options_init(&arena_options, sizeof arena_options);
  arena_options.dtype = GPUBUF_DTYPE_U8;
  arena_options.rank = 1;
  arena_options.shape[0] = total;
  gpubuf_buffer *arena_buffer = nullptr;
  check(gpubuf_buffer_create(device, &arena_options, &arena_buffer), "arena");
  void *arena_memory = nullptr;
  check(gpubuf_buffer_host_ptr_unfenced(arena_buffer, &arena_memory), "arena");
  auto *arena = static_cast<unsigned char *>(arena_memory);
  std::size_t offsets[step_arena::slots];
  for (std::size_t i = 0; i < step_arena::slots; ++i) {
    gpubuf_slot_info info;
    info.struct_size = sizeof info;
    check(gpubuf_slots_slot_info(slots, static_cast<std::uint32_t>(i), &info), "info");
    offsets[i] = info.offset;
  }
  std::string title = "pack a step of 16 slots, 172,032 bytes, " +
                      (ahead == 0 ? std::string("sources on the page grid of their slots")
                                  : "slots " + std::to_string(ahead) + " bytes ahead of their sources, modulo 4 KiB");
  table(title.c_str(),
        {{"by hand: 16 memcpy into a resident pinned arena",
          [&](int n) {
            for (int k = 0; k < n; ++k) {
              for (std::size_t i = 0; i < step_arena::slots; ++i) std::memcpy(arena + offsets[i], source[i], sizes[i]);
              keep(*arena);
            }
          }},
         {"by hand: malloc, memcpy, free for each",
          [&](int n) {
            for (int k = 0; k < n; ++k) {
              void *copies[step_arena::slots];
              for (std::size_t i = 0; i < step_arena::slots; ++i) {
                copies[i] = std::malloc(sizes[i]);
                std::memcpy(copies[i], source[i], sizes[i]);
                keep(copies[i]);
              }
              for (void *copy : copies) std::free(copy);
            }
          }},
         {"gpubuf_slots_begin, 16 gpubuf_step_write, gpubuf_step_abort",
          [&](int n) {
            for (int k = 0; k < n; ++k) {
              gpubuf_step *step = nullptr;
              check(gpubuf_slots_begin(slots, GPUBUF_TIMEOUT_TRY, &step), "begin");
              for (std::size_t i = 0; i < step_arena::slots; ++i)
                check(gpubuf_step_write(step, static_cast<std::uint32_t>(i), 0, sizes[i], source[i]), "write");
              check(gpubuf_step_abort(step), "abort");
            }
          }}},
        2000, 0);
  gpubuf_buffer_destroy(arena_buffer);
  gpubuf_slots_destroy(slots);
}

// ---- rows of a table ----------------------------------------------------------------------------------------------------

// So many rows of 8 KiB of a table of 256, other ones each time.
void write_rows(gpubuf_device *device, std::uint64_t rows) {
  constexpr std::uint64_t all = 256;
  constexpr std::uint64_t row_bytes = 8192;
  gpubuf_stream *stream = nullptr;
  check(gpubuf_stream_create(device, &stream), "stream");
  gpubuf_buffer_options buffer_options;
  gpubuf_buffer_options_init(&buffer_options, sizeof buffer_options);
  buffer_options.dtype = GPUBUF_DTYPE_U8;
  buffer_options.rank = 1;
  buffer_options.shape[0] = all * row_bytes;
  gpubuf_buffer *buffer = nullptr;
  check(gpubuf_buffer_create(device, &buffer_options, &buffer), "buffer");
  gpubuf_staged_rows_options options;
  gpubuf_staged_rows_options_init(&options, sizeof options);
  options.dtype = GPUBUF_DTYPE_U8;
  options.rows = all;
  options.row_elements = row_bytes;
  options.staging_bytes = rows * row_bytes;
  gpubuf_staged_rows *staged = nullptr;
  check(gpubuf_staged_rows_create(device, &options, &staged), "staged rows");
  const std::vector<unsigned char> values(row_bytes, 1);
  const auto row = [&](int step, std::uint64_t i) { return (static_cast<std::uint64_t>(step) * 31 + i * 3) % all; };
  const std::string title = "write " + std::to_string(rows) + " rows of 8 KiB of a table, steps in a row on one stream";
  table(title.c_str(),
        {{"gpubuf_buffer_copy_in, gpubuf_buffer_to_device for each row",
          [&](int n) {
            for (int k = 0; k < n; ++k) {
              for (std::uint64_t i = 0; i < rows; ++i) {
                const std::uint64_t at = row(k, i) * row_bytes;
                check(gpubuf_buffer_copy_in(buffer, at, row_bytes, values.data(), GPUBUF_TIMEOUT_DEFAULT), "copy_in");
                check(gpubuf_buffer_to_device(buffer, at, row_bytes, stream), "to_device");
              }
            }
            check(gpubuf_stream_synchronize(stream, GPUBUF_TIMEOUT_DEFAULT), "synchronize");
          }},
         {"gpubuf_staged_rows_stage for each row, one gpubuf_staged_rows_apply",
          [&](int n) {
            for (int k = 0; k < n; ++k) {
              for (std::uint64_t i = 0; i < rows; ++i)
                check(gpubuf_staged_rows_stage(staged, row(k, i), 0, values.data(), row_bytes), "stage");
              check(gpubuf_staged_rows_apply(staged, stream, nullptr, 0, GPUBUF_TIMEOUT_DEFAULT), "apply");
            }
            check(gpubuf_stream_synchronize(stream, GPUBUF_TIMEOUT_DEFAULT), "synchronize");
          }}},
        200, 0);
  gpubuf_staged_rows_destroy(staged);
  gpubuf_buffer_destroy(buffer);
  gpubuf_stream_destroy(stream);
}

// ---- handles ----------------------------------------------------------------------------------------------------------

struct object {
  std::uint32_t value = 2;
};

__attribute__((noinline)) int through_a_pointer(const object *o, std::uint32_t *out) {
  *out = o->value;
  return 0;
}

// The checked design people reach for: a locked map that shares ownership.
std::mutex map_mutex;
std::unordered_map<const void *, std::shared_ptr<object>> map_of_objects;

__attribute__((noinline)) int through_a_map(const void *handle, std::uint32_t *out) {
  std::shared_ptr<object> found;
  {
    std::lock_guard<std::mutex> lock(map_mutex);
    auto place = map_of_objects.find(handle);
    if (place == map_of_objects.end()) return 1;
    found = place->second;
  }
  *out = found->value;
  return 0;
}

void handle_check(gpubuf_device *device) {
  std::vector<gpubuf_event *> others(200);
  for (gpubuf_event *&event : others) check(gpubuf_event_create(device, &event), "event");
  for (int i = 0; i < 200; ++i) {
    auto one = std::make_shared<object>();
    map_of_objects.emplace(one.get(), one);
  }
  const void *handle = map_of_objects.begin()->first;
  object plain;
  const object *pointer = &plain;
  std::uint32_t out = 0;
  table("a call through a handle, 200 other objects alive",
        {{"by hand: a raw pointer, nothing checked",
          [&](int n) {
            for (int i = 0; i < n; ++i) {
              keep(pointer);
              through_a_pointer(pointer, &out);
              keep(out);
            }
          }},
         {"by hand: a locked map of shared pointers, stale handles found",
          [&](int n) {
            for (int i = 0; i < n; ++i) {
              keep(handle);
              through_a_map(handle, &out);
              keep(out);
            }
          }},
         {"gpubuf_device_backend: stale handles found, safe against a destroy",
          [&](int n) {
            for (int i = 0; i < n; ++i) {
              check(gpubuf_device_backend(device, &out), "backend");
              keep(out);
            }
          }}},
        1000000, 1);
  for (gpubuf_event *event : others) gpubuf_event_destroy(event);
}

}  // namespace

int main() {
  gpubuf_device_options options;
  gpubuf_device_options_init(&options, sizeof options);
  options.backend = GPUBUF_BACKEND_HOST;
  gpubuf_device *device = nullptr;
  check(gpubuf_device_open(&options, &device), "device");
  acquire_and_release(device);
  pack_a_step(device, 0);
  pack_a_step(device, 8);
  write_rows(device, 16);
  write_rows(device, 64);
  handle_check(device);
  gpubuf_device_destroy(device);
  return 0;
}
