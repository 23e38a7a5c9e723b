// Writes packed pieces to their places in a table. Pieces do not overlap, so their order does not matter.
//
// The entry: the 8-byte ticket, 8 bytes that are 0, then one descriptor for each piece, then the pieces' bytes. One row of
// thread blocks (x) is launched for each piece; those in y share its bytes. A piece lies in the entry as its place does in
// the table, modulo 16, so that all but its ends moves in words of 16 bytes.
//
// A ticket that is not the launch's means that the copy of the entry failed: what lies there are an earlier launch's pieces.

#ifndef __CUDACC_RTC__
#ifdef __clang__
#define __global__ __attribute__((global))
#define __launch_bounds__(threads) __attribute__((launch_bounds(threads)))
#endif
#endif

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned char u8;

struct descriptor {
  u64 target;  // in the table
  u32 source;  // in the entry
  u32 bytes;
};

#define SPECIAL(name, sreg)                          \
  static inline __attribute__((device)) u32 name() { \
    u32 value;                                       \
    asm("mov.u32 %0, %%" sreg ";" : "=r"(value));    \
    return value;                                    \
  }
SPECIAL(thread, "tid.x")
SPECIAL(threads, "ntid.x")
SPECIAL(piece, "ctaid.x")
SPECIAL(part, "ctaid.y")
SPECIAL(parts, "nctaid.y")

static inline __attribute__((device)) void copy_word(u8 *to, const u8 *from) {
  u64 low, high;
  asm volatile("ld.v2.u64 {%0, %1}, [%2];" : "=l"(low), "=l"(high) : "l"(from));
  asm volatile("st.v2.u64 [%0], {%1, %2};" : : "l"(to), "l"(low), "l"(high) : "memory");
}

extern "C" __global__ void __launch_bounds__(256) gpubuf_scatter_rows(const u8 *entry, u8 *table, u64 ticket) {
  if (*reinterpret_cast<const u64 *>(entry) != ticket) return;
  const descriptor it = reinterpret_cast<const descriptor *>(entry + 16)[piece()];
  const u8 *from = entry + it.source;
  u8 *to = table + it.target;
  u32 head = static_cast<u32>(-reinterpret_cast<u64>(to)) & 15;
  if (head > it.bytes) head = it.bytes;
  const u32 words = (it.bytes - head) / 16;
  const u32 done = head + words * 16;
  const u32 first = part() * threads() + thread();
  const u32 step = parts() * threads();
  for (u32 i = first; i < words; i += step) copy_word(to + head + i * 16ull, from + head + i * 16ull);
  // The ends are less than a word each: fewer than a block has threads.
  if (first < head) to[first] = from[first];
  if (first < it.bytes - done) to[done + first] = from[done + first];
}
