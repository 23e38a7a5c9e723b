/**
 * @file gpubuf.h
 * The C API of gpubuf. docs/c-api.md has the conventions: ownership, threads, errors, what stays compatible.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
/* Generated from src/ffi, do not edit. To refresh: GPUBUF_BLESS=1 cargo test -p gpubuf-header */

#ifndef GPUBUF_GPUBUF_H
#define GPUBUF_GPUBUF_H

#include <stddef.h>
#include <stdint.h>

/** @def GPUBUF_API Marks what the library exports. Define it beforehand to replace it. */
#ifndef GPUBUF_API
#if defined(__GNUC__) || defined(__clang__)
#define GPUBUF_API __attribute__((visibility("default")))
#else
#define GPUBUF_API
#endif
#endif

/** @def GPUBUF_MUST_USE The compiler warns where the returned status is dropped. */
#ifndef GPUBUF_MUST_USE
#if defined(__GNUC__) || defined(__clang__)
#define GPUBUF_MUST_USE __attribute__((warn_unused_result))
#else
#define GPUBUF_MUST_USE
#endif
#endif

/** The version of this header; gpubuf_version_number() has the version of the loaded library. */
#define GPUBUF_VERSION_MAJOR 0
#define GPUBUF_VERSION_MINOR 1
#define GPUBUF_VERSION_PATCH 0
/** major * 1000000 + minor * 1000 + patch */
#define GPUBUF_VERSION_NUMBER 1000

/** Success. */
#define GPUBUF_OK 0

/** An argument is NULL, out of range, or not one of the known numbers. */
#define GPUBUF_INVALID_ARGUMENT 100

/** A size or count does not fit. */
#define GPUBUF_OVERFLOW 101

/** The handle was destroyed or released, or never was one. */
#define GPUBUF_STALE_HANDLE 102

/** The handle is of another type. */
#define GPUBUF_WRONG_KIND 103

/** Objects of two devices were mixed. */
#define GPUBUF_WRONG_DEVICE 104

/** Header and library, or a struct's size and the library, do not agree. */
#define GPUBUF_VERSION_MISMATCH 105

/** No object of that name or number. */
#define GPUBUF_NOT_FOUND 106

/** The name, or the foreign memory, is taken. */
#define GPUBUF_EXISTS 107

/** Not after freeze; or, where the message says so, not before it. */
#define GPUBUF_FROZEN 108

/** An address was given to work the library cannot see, and no fence was declared since. */
#define GPUBUF_UNFENCED 200

/** The committed step that this one would overwrite was not retired. */
#define GPUBUF_NOT_RETIRED 201

/** An end without a begin, twice, or with an old token or ticket. */
#define GPUBUF_NOT_BEGUN 202

/** The block is not held by this caller, or the memory is the caller's again. */
#define GPUBUF_NOT_HELD 203

/** A required slot, or a part of it, was not written in this step. */
#define GPUBUF_SLOT_UNWRITTEN 204

/** A graph, or a step that is not over, has the address. */
#define GPUBUF_GRAPH_HELD 205

/** Every usable block or entry is quarantined, or the table of handles is full. */
#define GPUBUF_EXHAUSTED 206

/** Not now: a guard is open, another thread is inside, or the try form would have had to wait. */
#define GPUBUF_BUSY 300

/** The deadline passed; nothing changed but the caller's wait. */
#define GPUBUF_TIMEOUT 301

/** The wait could only end by an action of this same thread. */
#define GPUBUF_WOULD_DEADLOCK 302

/** Both sides of a range are newer than the other. */
#define GPUBUF_CONFLICT 303

/** Over a limit of bytes or entries. */
#define GPUBUF_BUDGET 400

/** No host memory. */
#define GPUBUF_OUT_OF_HOST_MEMORY 401

/** No device memory. */
#define GPUBUF_OUT_OF_DEVICE_MEMORY 402

/** This backend, device or object cannot do it. */
#define GPUBUF_UNSUPPORTED 500

/** Not while the stream captures. */
#define GPUBUF_CAPTURING 501

/** No usable driver. */
#define GPUBUF_DRIVER_MISSING 502

/** The device is lost. */
#define GPUBUF_DEVICE_LOST 503

/** A copy failed when it ran: its target holds no promised bytes. */
#define GPUBUF_COPY_FAILED 504

/** Completion could not be proven: the memory is never touched again. */
#define GPUBUF_QUARANTINED 505

/** The driver refused a call with a code that has no status of its own: the message names it. */
#define GPUBUF_DRIVER_ERROR 506

/** The library was shut down, the process exits, or the object was destroyed while the call waited. */
#define GPUBUF_SHUT_DOWN 900

/** A child after fork: inherited objects are void. */
#define GPUBUF_FORKED 901

/** A fault of the library left the object half-done: destroy it. */
#define GPUBUF_BROKEN 902

/** A fault of the library. */
#define GPUBUF_INTERNAL 903

/** `timeout_ns`: do not wait. */
#define GPUBUF_TIMEOUT_TRY 0

/** `timeout_ns`: the device's default, 10 s unless it was opened with another. */
#define GPUBUF_TIMEOUT_DEFAULT 9223372036854775806

/** `timeout_ns`: no deadline. Every larger value means the same. */
#define GPUBUF_TIMEOUT_INFINITE 9223372036854775807

/** `count`: everything from `first` on. */
#define GPUBUF_ALL 9223372036854775807

/** The backend that `GPUBUF_BACKEND` names in the environment (auto, cuda, host), else the best there is. */
#define GPUBUF_BACKEND_AUTO 0

/** The NVIDIA driver, loaded at run time. */
#define GPUBUF_BACKEND_CUDA 1

/** The emulated device: truly asynchronous, on the CPU. */
#define GPUBUF_BACKEND_HOST 2

/** As `ordinal`: the device of the backend with the most free memory. */
#define GPUBUF_ORDINAL_AUTO 4294967295

/** Of a size or limit: none, or not known. */
#define GPUBUF_UNKNOWN 9223372036854775807

/** It could not be tried. */
#define GPUBUF_ANSWER_NOT_TESTED 0

/** It was tried, and does not work; or the device says so of itself. */
#define GPUBUF_ANSWER_NO 1

/** It was tried, and works; or the device says so of itself. */
#define GPUBUF_ANSWER_YES 2

/** The device sees, in UVA memory that it has read, what the host writes there afterwards. */
#define GPUBUF_CAPABILITY_SEES_HOST_WRITES 1

/** Page-locked memory can be had. */
#define GPUBUF_CAPABILITY_PINNED_MEMORY 2

/** The caller's memory can be page-locked, for buffers that borrow it. */
#define GPUBUF_CAPABILITY_REGISTERED_MEMORY 3

/** Device memory in the order of a stream: GPUBUF_DEVICE_MEMORY_STREAM_ORDERED. */
#define GPUBUF_CAPABILITY_MEMORY_POOLS 4

/** Host memory in the order of a stream, from pools of the driver's. */
#define GPUBUF_CAPABILITY_HOST_POOLS 5

/** GPUBUF_PLACEMENT_MANAGED. */
#define GPUBUF_CAPABILITY_MANAGED_MEMORY 6

/** The device shares its memory with the CPU: it says so of itself. */
#define GPUBUF_CAPABILITY_INTEGRATED 7

/** The system has huge pages for ordinary mappings. */
#define GPUBUF_CAPABILITY_HUGE_PAGES 8

/** For people; may change at any time. */
#define GPUBUF_REPORT_TEXT 0

/** For programs: its keys stay (docs/report.md). */
#define GPUBUF_REPORT_JSON 1

/** Small pieces by the driver's own allocation; large ones (64 MiB on) mapped, touched by several threads and registered. */
#define GPUBUF_PINNED_AUTO 0

/** By the driver's own allocation. */
#define GPUBUF_PINNED_DRIVER 1

/** Mapped, touched by several threads and registered; where the driver refuses that, creation fails. */
#define GPUBUF_PINNED_REGISTER 2

/** As GPUBUF_DEBUG in the environment says. */
#define GPUBUF_DEBUG_DEFAULT 0

/** Memory is not watched. */
#define GPUBUF_DEBUG_OFF 1

/** Memory is watched: stray accesses fault and are reported, and so is damage that is found by looking. Either ends the process. */
#define GPUBUF_DEBUG_ON 2

/** As GPUBUF_DEBUG_ON, but the process goes on after damage that is found by looking. */
#define GPUBUF_DEBUG_REPORT 3

/** By cuMemAlloc: memory that can be exported. Giving it back may wait for the device, which maintain, drain and creations do. */
#define GPUBUF_DEVICE_MEMORY_PLAIN 0

/** By the driver's stream-ordered pool: giving it back waits for nothing. */
#define GPUBUF_DEVICE_MEMORY_STREAM_ORDERED 1

/** This side does not exist. */
#define GPUBUF_PLACEMENT_NONE 0

/** Ordinary host memory. */
#define GPUBUF_PLACEMENT_PAGEABLE 1

/** Page-locked host memory: copies are asynchronous, and read it when they run. */
#define GPUBUF_PLACEMENT_PINNED 2

/** Page-locked host memory that kernels use in place, by a device-visible address. */
#define GPUBUF_PLACEMENT_UVA 3

/** Device memory. */
#define GPUBUF_PLACEMENT_DEVICE 4

/** Memory that CPU and device use at one address, and that migrates by itself: a host side, on devices that have it. */
#define GPUBUF_PLACEMENT_MANAGED 5

/** Truth values of 1 byte. */
#define GPUBUF_DTYPE_BOOL 1

/** Signed, 8 bits. */
#define GPUBUF_DTYPE_I8 2

/** Signed, 16 bits. */
#define GPUBUF_DTYPE_I16 3

/** Signed, 32 bits. */
#define GPUBUF_DTYPE_I32 4

/** Signed, 64 bits. */
#define GPUBUF_DTYPE_I64 5

/** Unsigned, 8 bits. */
#define GPUBUF_DTYPE_U8 6

/** Unsigned, 16 bits. */
#define GPUBUF_DTYPE_U16 7

/** Unsigned, 32 bits. */
#define GPUBUF_DTYPE_U32 8

/** Unsigned, 64 bits. */
#define GPUBUF_DTYPE_U64 9

/** IEEE half. */
#define GPUBUF_DTYPE_F16 10

/** bfloat16. */
#define GPUBUF_DTYPE_BF16 11

/** IEEE single. */
#define GPUBUF_DTYPE_F32 12

/** IEEE double. */
#define GPUBUF_DTYPE_F64 13

/** 8-bit float, 4 bits of exponent. */
#define GPUBUF_DTYPE_F8_E4M3 14

/** 8-bit float, 5 bits of exponent. */
#define GPUBUF_DTYPE_F8_E5M2 15

/** The CPU's side. */
#define GPUBUF_SIDE_HOST 1

/** The device's side. */
#define GPUBUF_SIDE_DEVICE 2

/** Both sides. */
#define GPUBUF_SIDE_BOTH 3

/** The buffer's own policy; among its options: to refuse. */
#define GPUBUF_SYNC_DEFAULT 0

/** Bytes that are newer on both sides are a conflict. */
#define GPUBUF_SYNC_REFUSE 1

/** There the host side wins. */
#define GPUBUF_SYNC_HOST_WINS 2

/** There the device side wins. */
#define GPUBUF_SYNC_DEVICE_WINS 3

/** There the side wins that was marked last. */
#define GPUBUF_SYNC_NEWEST_WINS 4

/** The work only read. */
#define GPUBUF_ACCESS_READ 1

/** The work wrote; it may have read, too. */
#define GPUBUF_ACCESS_WRITE 2

/** No twin in device memory, but for a promotion. */
#define GPUBUF_TWIN_NEVER 0

/** A twin from the start. */
#define GPUBUF_TWIN_AT_ONCE 1

/**
 * A twin with the first copy to the device, or the first device address: that call allocates. Not for uva and managed blocks,
 * which kernels use in place.
 */
#define GPUBUF_TWIN_ON_NEED 2

/** `budget_bytes`: half of the smaller of the host's memory and the control group's limit. */
#define GPUBUF_BUDGET_AUTO 18446744073709551615ull

/** A request that finds no memory is refused. */
#define GPUBUF_OVER_BUDGET_FAIL 0

/**
 * It waits, up to its deadline, until blocks were given back; also where the budget has room and the driver can page-lock no more:
 * for what others give back it tries again every 10 ms. More bytes than the whole budget are refused at once.
 */
#define GPUBUF_OVER_BUDGET_WAIT 1

/** It gets pageable memory, outside the budget: the block's info says so. */
#define GPUBUF_OVER_BUDGET_PAGEABLE 2

/** A request was refused for want of memory. */
#define GPUBUF_PINNED_NOTICE_REFUSED 1

/** A request begins to wait. */
#define GPUBUF_PINNED_NOTICE_WAITS 2

/** Pageable memory was given for a request. */
#define GPUBUF_PINNED_NOTICE_PAGEABLE 3

/** The budget has no room. */
#define GPUBUF_SHORTAGE_BUDGET 1

/** The driver locks no more memory. */
#define GPUBUF_SHORTAGE_MEMORY 2

/** The block that has been free for longest. */
#define GPUBUF_STRATEGY_LEAST_RECENT 0

/** The block with the next number. */
#define GPUBUF_STRATEGY_ROUND_ROBIN 1

/** The block that has been free for longest; the last `reserved_blocks` are kept for priorities above 0. */
#define GPUBUF_STRATEGY_PRIORITY 2

/** The sizes that were the most frequent of the window. */
#define GPUBUF_METHOD_MOST_COMMON 0

/** Those that came most often after the last size, then the most common ones. */
#define GPUBUF_METHOD_MARKOV 1

/** Those that came most often after the last two sizes (a rare one by its power of two), then those of GPUBUF_METHOD_MARKOV. */
#define GPUBUF_METHOD_MARKOV2 2

/** The most common ones, until one of the others has hit more often than chance explains, and for as long as it leads. */
#define GPUBUF_METHOD_BLEND 3

/** The most sizes of one prediction. */
#define GPUBUF_MAX_PREDICTED 8

/** To be had. */
#define GPUBUF_BLOCK_FREE 0

/** Somebody has it, and nothing that the library knows of uses it on the device. */
#define GPUBUF_BLOCK_ACQUIRED 1

/** Copies, fills or declared work use it, whether somebody has it or not. */
#define GPUBUF_BLOCK_COPYING 2

/** A graph holds it. */
#define GPUBUF_BLOCK_HELD 3

/** A figure that was not measured. */
#define GPUBUF_ABSENT 18446744073709551615ull

/** Nobody holds it. Work may still use it. */
#define GPUBUF_ENTRY_FREE 0

/** Held, and nothing that the library knows of uses it. */
#define GPUBUF_ENTRY_ALLOCATED 1

/** Held, its host side is newer than its device side, and nothing that the library knows of uses it. */
#define GPUBUF_ENTRY_STAGED 2

/** Held, and queued or undeclared work, a guard or a graph uses it; or it is being made. */
#define GPUBUF_ENTRY_IN_USE 3

/** What memory is high: the device's, of all processes. */
#define GPUBUF_PRESSURE_DEVICE 1

/** What memory is high: the host's, by the control group or the machine. */
#define GPUBUF_PRESSURE_HOST 2

/** What memory is high: the budget of a manager of page-locked memory. */
#define GPUBUF_PRESSURE_PINNED 3

/** What memory is high: the budget of a tier. */
#define GPUBUF_PRESSURE_TIER 4

/** The most dimensions of a shape. */
#define GPUBUF_MAX_RANK 8

/** For whoever looks for a fault. */
#define GPUBUF_LOG_DEBUG 0

/** Good to know. */
#define GPUBUF_LOG_INFO 1

/** Something was lost, late, or done twice. */
#define GPUBUF_LOG_WARN 2

/** The library or the device failed. */
#define GPUBUF_LOG_ERROR 3

/** Written in each step, from row 0 without holes. */
#define GPUBUF_SLOT_REQUIRED 0

/** Rows that a step does not write keep their last committed content. */
#define GPUBUF_SLOT_KEPT 1

/** Bound in each step to memory that is on the device already: nothing is staged, and its address is the step's own. At most 16. */
#define GPUBUF_SLOT_DYNAMIC 2

/** Any operation. */
#define GPUBUF_HOST_ANY 0

/** Copies. */
#define GPUBUF_HOST_COPY 1

/** Fills. */
#define GPUBUF_HOST_FILL 2

/** Delays. */
#define GPUBUF_HOST_DELAY 3

/** Functions. */
#define GPUBUF_HOST_CALL 4

/** Records of events. */
#define GPUBUF_HOST_RECORD 5

/** Waits for events. */
#define GPUBUF_HOST_WAIT 6

/** A kernel of the library's: the scatter of staged rows. */
#define GPUBUF_HOST_KERNEL 7

/**
 * Allocations of page-locked and device memory. These and the kinds below are no part of GPUBUF_HOST_ANY, and fail at
 * submission only; over the stand-in driver they are GPUBUF_UNSUPPORTED: there each function of the driver's can be made to fail.
 */
#define GPUBUF_HOST_ALLOCATION 8

/** Page-locking of the caller's memory. */
#define GPUBUF_HOST_REGISTRATION 9

/** Creations of streams. */
#define GPUBUF_HOST_STREAM 10

/** Creations of events. */
#define GPUBUF_HOST_EVENT 11

/** The operation is refused, nothing is queued. */
#define GPUBUF_HOST_AT_SUBMISSION 0

/** The operation is queued, and has no effect when it runs. */
#define GPUBUF_HOST_AT_EXECUTION 1

/** The operation is refused, since the device is lost in that moment. */
#define GPUBUF_HOST_AT_LOSS 2

/** The right to use one block of a pool, from acquire to release. */
typedef struct gpubuf_block gpubuf_block;

/** A host side and a device side of one shape. */
typedef struct gpubuf_buffer gpubuf_buffer;

/** A device: memory, streams and events come from it. */
typedef struct gpubuf_device gpubuf_device;

/** A mark in a stream. */
typedef struct gpubuf_event gpubuf_event;

/** Every block whose addresses one executable graph has baked in. */
typedef struct gpubuf_graph_hold gpubuf_graph_hold;

/** What a function that runs on a stream sees of memory. Valid in that function, on its thread, only. */
typedef struct gpubuf_host_view gpubuf_host_view;

/** A manager of page-locked memory: blocks of any size under one budget. */
typedef struct gpubuf_pinned gpubuf_pinned;

/** Equal blocks of page-locked memory. */
typedef struct gpubuf_pool gpubuf_pool;

/** Predicts the size of the next step. */
typedef struct gpubuf_predictor gpubuf_predictor;

/** Watches how full memory is. */
typedef struct gpubuf_pressure gpubuf_pressure;

/** Bytes of a manager's budget that are held for blocks to come. */
typedef struct gpubuf_reservation gpubuf_reservation;

/** A set of input slots: what a step of an inference loop sends to the device. */
typedef struct gpubuf_slots gpubuf_slots;

/** Writes of rows of a table, collected and applied together. */
typedef struct gpubuf_staged_rows gpubuf_staged_rows;

/** One step, from begin to abort, retire or destroy. */
typedef struct gpubuf_step gpubuf_step;

/** A stream: work queued on it runs in order, behind the caller's back. */
typedef struct gpubuf_stream gpubuf_stream;

/** Host memory that is always writable, and copies of it for the device. */
typedef struct gpubuf_tensor gpubuf_tensor;

/** A block that moves between tiers. */
typedef struct gpubuf_tiered_block gpubuf_tiered_block;

/** Memory of several kinds, each with a budget. */
typedef struct gpubuf_tiers gpubuf_tiers;

/** Buffers by name, and by spec. */
typedef struct gpubuf_workspace gpubuf_workspace;

/** What every call that can fail answers: GPUBUF_OK, or why it did nothing. Callers must expect statuses they do not know. */
typedef int32_t gpubuf_status;

/**
 * Takes the library's messages (GPUBUF_LOG_DEBUG to GPUBUF_LOG_ERROR): called on any thread, on several at a time, under no
 * lock of the library. It may call the library, and must not throw. `message` is valid during the call.
 */
typedef void (*gpubuf_log_fn)(int32_t level, const char *message, void *user_data);

/** How a device is opened. Set up by gpubuf_device_options_init. */
typedef struct gpubuf_device_options {
  /** sizeof(gpubuf_device_options) */
  uint32_t struct_size;
  /** GPUBUF_BACKEND_ */
  uint32_t backend;
  /**
   * Which device of the backend, from 0; or GPUBUF_ORDINAL_AUTO, which opens the one with the most free memory: to ask for
   * that, each device's primary context is retained for a moment.
   */
  uint32_t ordinal;
  /** 0 */
  uint32_t reserved;
  /** What GPUBUF_TIMEOUT_DEFAULT means for the device and its objects, in nanoseconds. Default: 10 s. */
  uint64_t default_timeout_ns;
  /** For messages; NULL: none. Copied. */
  const char *label;
  /**
   * GPUBUF_BACKEND_CUDA: a CUcontext that the caller made, to be used instead of the primary context of `ordinal` (which is
   * then not looked at). It must outlive the device and all its objects. NULL: the primary context, which is retained.
   */
  void *native_context;
  /** Most bytes of page-locked memory that one registration with the driver locks. 0: 1 GiB. */
  uint64_t register_bytes;
  /** GPUBUF_PINNED_: how page-locked memory is made. */
  uint32_t pinned_method;
  /** GPUBUF_DEVICE_MEMORY_: how device memory is made. */
  uint32_t device_memory;
  /**
   * How often a thread of the library's does what gpubuf_device_maintain does, and delivers the log, in nanoseconds: 1 ms or
   * more; release and log callbacks are then called on that thread as well. It ends when the device's handle is destroyed,
   * after the round that it is in, and is waited for by gpubuf_shutdown. 0: there is no such thread. Default: 0.
   */
  uint64_t upkeep_interval_ns;
  /**
   * Which device, by name, with `backend`, `ordinal` and `native_context` 0: "auto" (of GPUBUF_BACKEND_AUTO, the most free memory),
   * "cuda" or "host", "cuda:1", "cuda:auto", a UUID as nvidia-smi has it or the unique beginning of one ("GPU-8932f937"), or
   * a place on the bus ("0000:3b:00.0"). NULL: by those fields.
   */
  const char *name;
  /** 1: the device is probed as by gpubuf_device_probe before this returns, and what it then cannot do is refused. 0: not. */
  uint32_t probe;
  /**
   * GPUBUF_DEBUG_: whether the memory of the device's objects is watched. GPUBUF_DEBUG_DEFAULT: as GPUBUF_DEBUG in the
   * environment says, 1, "report", or not.
   */
  uint32_t debug;
} gpubuf_device_options;

/** What is known of a device. */
typedef struct gpubuf_device_info {
  /** sizeof(gpubuf_device_info), set by the caller. */
  uint32_t struct_size;
  /** GPUBUF_BACKEND_CUDA or GPUBUF_BACKEND_HOST */
  uint32_t backend;
  /** The version that the driver is for: 12040 is CUDA 12.4. 0: there is no driver. */
  uint32_t driver_version;
  /** 1: no hardware is behind it (the host backend, and the stand-in driver). */
  uint32_t simulation;
  /** The memory node near the device; -1: not known. */
  int32_t numa_node;
  /** 1: it shares its memory with the CPU. */
  uint32_t integrated;
  /** 1: the caller's host memory can be page-locked. */
  uint32_t can_register;
  /** 1: it has managed memory that the CPU may use while kernels run. */
  uint32_t can_manage;
  /** 1: it has stream-ordered memory. */
  uint32_t has_memory_pools;
  /** 0 */
  uint32_t reserved;
  /** The driver's handle of its context, a CUcontext; NULL on the host backend. */
  void *native_context;
} gpubuf_device_info;

/** A device's figures. Bytes are what the library owns at this moment; the rest only grows. */
typedef struct gpubuf_device_stats {
  /** sizeof(gpubuf_device_stats), set by the caller. */
  uint32_t struct_size;
  /** 0 */
  uint32_t reserved;
  /** Pageable host memory. */
  uint64_t host_bytes;
  /** Page-locked host memory. */
  uint64_t pinned_bytes;
  /** Device memory. */
  uint64_t device_bytes;
  /** Managed memory. */
  uint64_t managed_bytes;
  /** Memory of destroyed objects that waits for its last use. */
  uint64_t deferred_bytes;
  /** The pieces it is in. */
  uint64_t deferred_objects;
  /** Memory whose completion could not be proven: never touched again. */
  uint64_t quarantined_bytes;
  /** Memory left to the process exit, at a shutdown or after a fault of the library. */
  uint64_t leaked_bytes;
  /** Copies queued. */
  uint64_t copies;
  /** Their bytes. */
  uint64_t copied_bytes;
  /** Fences recorded. */
  uint64_t fences_recorded;
  /** Waits queued on one stream for another. */
  uint64_t device_waits;
  /** Waits of host threads that did not find their work done. */
  uint64_t host_waits;
  /** Time spent in them. */
  uint64_t host_wait_ns;
  /** Waits that ended by their deadline, and tries that would have had to wait. */
  uint64_t timeouts;
  /** Driver events made. */
  uint64_t events_created;
  /** Those of them that were not made ahead, with their stream. */
  uint64_t events_on_demand;
  /** Calls refused by the reuse contract. */
  uint64_t refusals;
  /** Copies that failed when they ran. */
  uint64_t copy_failures;
  /** Objects destroyed while their device address was with work the library cannot see. */
  uint64_t sealed_at_destroy;
  /** Pointers given out by gpubuf_buffer_host_ptr_unfenced. */
  uint64_t unfenced_pointers;
  /** Times that memory was made in another way than would have been best, each with a message in the log. */
  uint64_t fallbacks;
  /** Calls with a handle that had ended, or never was one: of the whole process. */
  uint64_t stale_handles;
  /** The most pageable host memory there was at a time. */
  uint64_t host_peak_bytes;
  /** The most page-locked host memory there was at a time. */
  uint64_t pinned_peak_bytes;
  /** The most device memory there was at a time. */
  uint64_t device_peak_bytes;
  /** The most managed memory there was at a time. */
  uint64_t managed_peak_bytes;
  /** All pageable host memory that was ever allocated. */
  uint64_t host_total_bytes;
  /** All page-locked host memory that was ever allocated. */
  uint64_t pinned_total_bytes;
  /** All device memory that was ever allocated. */
  uint64_t device_total_bytes;
  /** All managed memory that was ever allocated. */
  uint64_t managed_total_bytes;
  /** Allocations and registrations by the driver, those of the library for itself included. */
  uint64_t allocations;
  /** Those that the driver refused. */
  uint64_t allocation_failures;
  /** Time spent inside the driver for them, and for clearing the memory, in nanoseconds. */
  uint64_t allocation_ns;
  /** Frees and ends of registrations by the driver. */
  uint64_t frees;
  /** Time spent inside the driver for them, in nanoseconds; on a thread of the library's where they would wait. */
  uint64_t free_ns;
  /** Of `fallbacks`: large page-locked memory that could not be registered, and came from the driver's own allocation. */
  uint64_t fallbacks_registration;
  /** Of `fallbacks`: page-locked memory that the system would not place near the device. The message comes once. */
  uint64_t fallbacks_node;
  /**
   * Of `fallbacks`: buffers and blocks of uva memory that are a pinned and a device side, since the device does not see later host
   * writes.
   */
  uint64_t fallbacks_uva;
  /** Frees and ends of registrations that the driver refused: that memory stays with it, and no byte of it is counted any more. */
  uint64_t free_failures;
} gpubuf_device_stats;

/** What is known of a device that need not be open. */
typedef struct gpubuf_device_summary {
  /** sizeof(gpubuf_device_summary), set by the caller. */
  uint32_t struct_size;
  /** GPUBUF_BACKEND_CUDA or GPUBUF_BACKEND_HOST */
  uint32_t backend;
  /** Which device of the backend. */
  uint32_t ordinal;
  /** The version that the driver is for: 12040 is CUDA 12.4. 0: there is no driver. */
  uint32_t driver_version;
  /** 1: no hardware is behind it. */
  uint32_t simulation;
  /** 1: it shares its memory with the CPU. */
  uint32_t integrated;
  /** The memory node near it; -1: not known. */
  int32_t numa_node;
  /** 1: `uuid` is known. */
  uint32_t has_uuid;
  /** Bytes of its memory; GPUBUF_UNKNOWN: not known. How much is free only an open device can tell. */
  uint64_t memory_bytes;
  /** Its number in the world. */
  uint8_t uuid[16];
  /** Where it is plugged in, "0000:3b:00.0"; empty: nowhere. Ends with a NUL. */
  char bus_id[32];
  /** Its name, for people, cut to fit. Ends with a NUL. */
  char name[128];
} gpubuf_device_summary;

/** What a probe found. Answers are GPUBUF_ANSWER_ numbers; gpubuf_device_capability_reason has a sentence for each. */
typedef struct gpubuf_capabilities {
  /** sizeof(gpubuf_capabilities), set by the caller. */
  uint32_t struct_size;
  /** 1: no hardware is behind the device: the answers are those of a simulation. */
  uint32_t simulation;
  /**
   * GPUBUF_CAPABILITY_SEES_HOST_WRITES: a copy of the device's by the device address, three times, with the host writing in
   * between. Where it is GPUBUF_ANSWER_NO, a copy stands in for memory of GPUBUF_PLACEMENT_UVA from now on.
   */
  uint32_t sees_host_writes;
  /** GPUBUF_CAPABILITY_PINNED_MEMORY: a page, allocated, written and read. */
  uint32_t pinned_memory;
  /** GPUBUF_CAPABILITY_REGISTERED_MEMORY: a page of this process, registered and released. */
  uint32_t registered_memory;
  /** GPUBUF_CAPABILITY_MEMORY_POOLS: a page, allocated and freed in the order of a stream. */
  uint32_t memory_pools;
  /** GPUBUF_CAPABILITY_HOST_POOLS: a page of a pool, allocated, written and freed. */
  uint32_t host_pools;
  /** GPUBUF_CAPABILITY_MANAGED_MEMORY: a page, allocated, written and read. */
  uint32_t managed_memory;
  /** GPUBUF_CAPABILITY_INTEGRATED: asked, not tried. */
  uint32_t integrated;
  /** GPUBUF_CAPABILITY_HUGE_PAGES: asked of the system, not tried. */
  uint32_t huge_pages;
  /** The memory node near the device; -1: not known. */
  int32_t device_numa_node;
  /** The node of the memory that the calling thread is given, by a page that it touched; -1: not known. */
  int32_t thread_numa_node;
  /** Bytes of a page, and of a huge one. Here and below GPUBUF_UNKNOWN is: no limit, none, or not known. */
  uint64_t page_bytes;
  /** As above. */
  uint64_t huge_page_bytes;
  /** Free device memory, at the probe. */
  uint64_t device_free_bytes;
  /** Device memory. */
  uint64_t device_total_bytes;
  /** Host memory of the machine. */
  uint64_t host_total_bytes;
  /** Host memory that new work may take without swapping. */
  uint64_t host_available_bytes;
  /** The lowest memory limit of the control groups (version 2 or 1) that the process is in, nested ones included. */
  uint64_t cgroup_limit_bytes;
  /** What the group with that limit uses, page cache included. */
  uint64_t cgroup_used_bytes;
  /** The least that any of the groups leaves before its limit; page cache that nobody touches counts as free. */
  uint64_t cgroup_room_bytes;
  /** RLIMIT_MEMLOCK. */
  uint64_t memlock_limit_bytes;
  /** What counts against it. */
  uint64_t memlock_used_bytes;
} gpubuf_capabilities;

/**
 * Told once when nothing uses borrowed memory any more: called on any thread, under no lock of the library. It may call the
 * library, and must not throw.
 */
typedef void (*gpubuf_release_fn)(void *user_data);

/** What a buffer is to be. Set up by gpubuf_buffer_options_init; dtype, rank and shape have no default. */
typedef struct gpubuf_buffer_options {
  /** sizeof(gpubuf_buffer_options) */
  uint32_t struct_size;
  /** GPUBUF_DTYPE_ */
  uint32_t dtype;
  /** Dimensions: 1 to GPUBUF_MAX_RANK. */
  uint32_t rank;
  /** Where the host side lives: none, pageable, pinned (the default), uva or managed. */
  uint32_t host_placement;
  /** Where the device side lives: none or device (the default). */
  uint32_t device_placement;
  /** 0 */
  uint32_t reserved;
  /** Elements per dimension, outermost first; row-major. */
  uint64_t shape[8];
  /** For messages; NULL: none. Copied. */
  const char *label;
  /**
   * The caller's memory for the host side, page-locked while it is borrowed if host_placement says pinned or uva; NULL: the
   * library's own, zeroed.
   */
  void *host_memory;
  /** The caller's memory for the device side; 0: the library's own, zeroed. */
  uint64_t device_memory;
  /**
   * Called once when nothing uses the caller's memory any more; not if creating fails. Perhaps on a thread of the library.
   * NULL: nobody is told.
   */
  gpubuf_release_fn release;
  /** Handed to release. */
  void *release_user_data;
  /**
   * Elements that there is memory for, so that gpubuf_buffer_resize leaves the addresses as they are. 0, or less than the shape
   * has: as many as that. Borrowed memory must have as many.
   */
  uint64_t capacity;
  /** GPUBUF_SYNC_: who wins where gpubuf_buffer_sync finds both sides newer. */
  uint32_t sync_policy;
  /** 1: copies between the sides are timed. That takes events of the driver's, made with the buffer. */
  uint32_t timed;
} gpubuf_buffer_options;

/** What a buffer is. */
typedef struct gpubuf_buffer_info {
  /** sizeof(gpubuf_buffer_info), set by the caller. */
  uint32_t struct_size;
  /** GPUBUF_DTYPE_ */
  uint32_t dtype;
  /** Dimensions. */
  uint32_t rank;
  /** GPUBUF_PLACEMENT_ of the host side. */
  uint32_t host_placement;
  /** GPUBUF_PLACEMENT_ of the device side. */
  uint32_t device_placement;
  /** 1 if a part of its memory is the caller's. */
  uint32_t borrowed;
  /** Elements per dimension; 0 from rank on. */
  uint64_t shape[8];
  /** Elements in all. */
  uint64_t count;
  /** Bytes of its elements on the host side; 0 if there is none. */
  uint64_t host_bytes;
  /** Bytes of its elements on the device side; 0 if there is none. */
  uint64_t device_bytes;
  /** Elements from one to the next along each dimension, on both sides; 0 from rank on. */
  uint64_t strides[8];
  /** Elements that its buffer has memory for, on each side. */
  uint64_t capacity;
  /** Elements before the first one, in the buffer that this is a view of. */
  uint64_t offset;
  /** 1: a view of another buffer. */
  uint32_t is_view;
  /** 1: no gaps between its rows. */
  uint32_t contiguous;
  /** 1: the device does not see later host writes to uva memory, so there is a pinned and a device side: gpubuf_buffer_publish copies. */
  uint32_t stands_in;
  /** 0 */
  uint32_t reserved;
} gpubuf_buffer_info;

/**
 * Elements that are newer on one side: `count` from `first` on, `rows` times, `stride` elements apart. An entry of lists, which
 * never grows.
 */
typedef struct gpubuf_dirty_range {
  /** The first element. */
  uint64_t first;
  /** Elements of a row. */
  uint64_t count;
  /** Rows; 1 where it is a range. */
  uint64_t rows;
  /** Elements from one row to the next; 0 where there is one. */
  uint64_t stride;
} gpubuf_dirty_range;

/** The figures of a buffer and all its views, since it was made or reset. */
typedef struct gpubuf_buffer_stats {
  /** sizeof(gpubuf_buffer_stats), set by the caller. */
  uint32_t struct_size;
  /** Views that are alive. */
  uint32_t views;
  /** Copies of the driver's to the device side. */
  uint64_t to_device_copies;
  /** Their bytes. */
  uint64_t to_device_bytes;
  /** Calls whose copies to the device side were timed, and have ended; GPUBUF_ABSENT without the option `timed`. */
  uint64_t to_device_timed;
  /** Device time of those; GPUBUF_ABSENT without the option `timed`. */
  uint64_t to_device_ns;
  /** Copies of the driver's to the host side. */
  uint64_t to_host_copies;
  /** Their bytes. */
  uint64_t to_host_bytes;
  /** As to_device_timed. */
  uint64_t to_host_timed;
  /** As to_device_ns. */
  uint64_t to_host_ns;
  /** Fills of the device side. */
  uint64_t device_fills;
  /** Calls of sync that moved something. */
  uint64_t syncs;
  /** Calls of sync that answered GPUBUF_CONFLICT. */
  uint64_t conflicts;
  /** Copies and fills that failed when they ran, as far as they were told. */
  uint64_t failures;
  /** Other shapes it got. */
  uint64_t resizes;
  /** Bytes that are newer on the host side, as far as that is known without asking the device. */
  uint64_t host_dirty_bytes;
  /** The same of the device side. */
  uint64_t device_dirty_bytes;
  /** Waits on the host for its uses. */
  uint64_t host_waits;
  /** Time spent in them. */
  uint64_t host_wait_ns;
  /** Waits that ended by their deadline, and tries that would have had to wait. */
  uint64_t timeouts;
} gpubuf_buffer_stats;

/**
 * Asks the holder of a pool's block to give it back, if it can do without: `waiter_priority` is above `holder_priority`. Called
 * inside gpubuf_pool_acquire, on the thread that has to wait, under no lock of the library, once for each wait and each holding
 * of a block. It may release blocks, and must not throw or wait.
 */
typedef void (*gpubuf_give_back_fn)(uint32_t block_index,
                                    int32_t holder_priority,
                                    int32_t waiter_priority,
                                    void *user_data);

/** What a pool is to be. Set up by gpubuf_pool_options_init; block_bytes and block_count have no default. */
typedef struct gpubuf_pool_options {
  /** sizeof(gpubuf_pool_options) */
  uint32_t struct_size;
  /** Where the blocks live: pinned (the default), uva or managed. */
  uint32_t placement;
  /** Size of each block. */
  uint64_t block_bytes;
  /** How many there are at first, and at least. */
  uint32_t block_count;
  /** GPUBUF_TWIN_: whether each block has a twin of the same size in device memory. */
  uint32_t device_side;
  /** For messages; NULL: none. Copied. */
  const char *label;
  /** GPUBUF_STRATEGY_: which of the free blocks is taken, among those whose last use is over. */
  uint32_t strategy;
  /** GPUBUF_STRATEGY_PRIORITY: free blocks that only an acquire with a priority above 0 takes; less than block_count. */
  uint32_t reserved_blocks;
  /** A waiter that was passed over by so many who came later, with a higher priority, comes first. Default: 64; 0: never. */
  uint32_t patience;
  /** The most blocks that gpubuf_pool_maintain grows the pool to. 0, the default: it stays as it is. */
  uint32_t max_blocks;
  /**
   * To how many percent of its size the pool grows, where an acquire found no block since the last look, or none but those
   * that queued work still used. Default: 150.
   */
  uint32_t growth_percent;
  /**
   * It shrinks, by the same factor, where at most so many percent of its blocks were held at a time since the last look, and
   * no acquire found none. Default: 25; 0: only where none was held.
   */
  uint32_t shrink_below_percent;
  /** For how long after a change it does not shrink. Default: 10 s. */
  uint64_t cool_down_ns;
  /** Told where somebody with a higher priority than a block's holder has to wait for a block. NULL: nobody is asked. */
  gpubuf_give_back_fn give_back;
  /** Handed to give_back. */
  void *give_back_user_data;
  /** 1: copies between the sides of the blocks are timed. That takes events of the driver's, made with the blocks. */
  uint32_t timed;
  /** 0 */
  uint32_t reserved;
} gpubuf_pool_options;

/** A pool's figures: what is the case at this moment, then what only grows. */
typedef struct gpubuf_pool_stats {
  /** sizeof(gpubuf_pool_stats), set by the caller. */
  uint32_t struct_size;
  /** Blocks in all. */
  uint32_t block_count;
  /** Blocks to be had; their last uses may not be over. */
  uint32_t free_blocks;
  /** Blocks acquired and not released. */
  uint32_t held_blocks;
  /** Blocks out of use for good. */
  uint32_t quarantined_blocks;
  /** Threads that wait for a block. */
  uint32_t waiters;
  /** Size of each block. */
  uint64_t block_bytes;
  /** Blocks acquired. */
  uint64_t acquires;
  /** Blocks released. */
  uint64_t releases;
  /** Acquires that waited for a release. */
  uint64_t waits;
  /** Time spent in that. */
  uint64_t wait_ns;
  /** Acquires that got no block in time, and tries that found none. */
  uint64_t timeouts;
  /** Releases that went straight to a waiter. */
  uint64_t hand_overs;
  /** Waits for a block's last use. */
  uint64_t fence_waits;
  /** Time spent in that. */
  uint64_t fence_wait_ns;
  /** Acquires that found no block to be had: tries that were refused, and those that waited. */
  uint64_t contended_acquires;
  /** Holders that were asked to give a block back. */
  uint64_t give_back_requests;
  /** Times it grew. */
  uint64_t growths;
  /** Times it shrank. */
  uint64_t shrinks;
  /** Blocks that could not be made when it was to grow. */
  uint64_t growth_failures;
  /** The most blocks there were. */
  uint32_t peak_blocks;
  /** The most that were held at a time. */
  uint32_t peak_held;
  /** The most threads that waited at a time. */
  uint32_t peak_waiters;
  /** 0 */
  uint32_t reserved;
} gpubuf_pool_stats;

/** What a pool knows of one of its blocks. */
typedef struct gpubuf_pool_block {
  /** sizeof(gpubuf_pool_block), set by the caller. */
  uint32_t struct_size;
  /** GPUBUF_BLOCK_ */
  uint32_t state;
  /** 1: somebody has it. */
  uint32_t held;
  /** The priority that it was acquired with last. */
  int32_t priority;
  /** Times it was acquired. */
  uint64_t uses;
  /** Nanoseconds since it was acquired last, to some milliseconds; GPUBUF_ABSENT if it never was. */
  uint64_t last_use_ns;
} gpubuf_pool_block;

/** What a block of its own is to be. Set up by gpubuf_block_options_init; bytes has no default. */
typedef struct gpubuf_block_options {
  /** sizeof(gpubuf_block_options) */
  uint32_t struct_size;
  /** Where it lives: pinned (the default), uva or managed. */
  uint32_t placement;
  /** Its size. */
  uint64_t bytes;
  /** GPUBUF_TWIN_ */
  uint32_t device_side;
  /** 1: copies between its sides are timed. */
  uint32_t timed;
  /** For messages; NULL: none. Copied. */
  const char *label;
} gpubuf_block_options;

/** What a block is. */
typedef struct gpubuf_block_info {
  /** sizeof(gpubuf_block_info), set by the caller. */
  uint32_t struct_size;
  /** Its number in its pool, from 0. */
  uint32_t index;
  /** Its size. */
  uint64_t bytes;
  /** GPUBUF_PLACEMENT_: pinned, uva or managed; pageable where a manager had no other. */
  uint32_t placement;
  /** 1 if it has a twin in device memory. */
  uint32_t device_side;
  /** 1 if that is a promotion's. */
  uint32_t promoted;
  /** 1: the device does not see later host writes to uva memory, so the block is a pinned one with a twin: gpubuf_block_publish copies. */
  uint32_t stands_in;
} gpubuf_block_info;

/** What moved between a block's sides, in all the times that it was acquired. */
typedef struct gpubuf_block_stats {
  /** sizeof(gpubuf_block_stats), set by the caller. */
  uint32_t struct_size;
  /** 0 */
  uint32_t reserved;
  /** Copies to the device that were queued. */
  uint64_t to_device_copies;
  /** Their bytes. */
  uint64_t to_device_bytes;
  /** Those of them whose time is known; GPUBUF_ABSENT where times are not taken. */
  uint64_t to_device_timed;
  /** The time they took on the device; GPUBUF_ABSENT where times are not taken. */
  uint64_t to_device_ns;
  /** Copies to the host that were queued. */
  uint64_t to_host_copies;
  /** Their bytes. */
  uint64_t to_host_bytes;
  /** As to_device_timed. */
  uint64_t to_host_timed;
  /** The time they took; GPUBUF_ABSENT where times are not taken. */
  uint64_t to_host_ns;
  /** Calls that synced something. */
  uint64_t syncs;
  /** Those refused because both sides were newer. */
  uint64_t conflicts;
  /** Copies that failed. */
  uint64_t failures;
  /** Bytes that are newer on the host side. */
  uint64_t host_dirty_bytes;
  /** Bytes that are newer on the device side. */
  uint64_t device_dirty_bytes;
} gpubuf_block_stats;

/**
 * Told of a request that found no memory: GPUBUF_PINNED_NOTICE_, its bytes and its owner (never NULL, valid during the call).
 * Called on the thread that makes the request, under no lock of the library. It may call the library, and must not throw; requests
 * that it makes of its own manager are counted, and it is not told of them.
 */
typedef void (*gpubuf_pinned_notify_fn)(uint32_t notice,
                                        uint64_t bytes,
                                        const char *owner,
                                        void *user_data);

/**
 * Asked for a cure where `bytes` cannot be had: GPUBUF_SHORTAGE_, and how often it was asked for this request, from 1. It may
 * give blocks back, trim, raise the budget, and answers 1 to have it tried again, 0 to have the request's policy followed.
 * Called on the thread that makes the request, under no lock of the library. It must not throw.
 */
typedef uint32_t (*gpubuf_out_of_memory_fn)(uint32_t shortage,
                                            uint64_t bytes,
                                            uint32_t attempt,
                                            void *user_data);

/** What a manager is to be. Set up by gpubuf_pinned_options_init. */
typedef struct gpubuf_pinned_options {
  /** sizeof(gpubuf_pinned_options) */
  uint32_t struct_size;
  /** Where the blocks live: pinned (the default) or uva. */
  uint32_t placement;
  /**
   * Requested bytes that blocks, caches and reservations may have together; 0 is none. The default, GPUBUF_BUDGET_AUTO: half of
   * the smaller of the host's memory and the control group's limit.
   */
  uint64_t budget_bytes;
  /** What is page-locked at once for small blocks, rounded up to pages; less where the budget leaves less. 0: 4 MiB. */
  uint64_t slab_bytes;
  /** A block of so many bytes or more gets a slab for itself. 0: a quarter of slab_bytes. */
  uint64_t large_bytes;
  /**
   * What gpubuf_device_maintain, or the device's upkeep thread, leaves of idle slabs, page-locked bytes. The default,
   * GPUBUF_ALL: all.
   */
  uint64_t keep_bytes;
  /**
   * 1: slabs are mapped and advised to be on huge pages before they are registered, on devices that can register;
   * huge_bytes of the figures says how far the system followed.
   */
  uint32_t huge_pages;
  /** How often out_of_memory may have one request tried again. Default: 4. */
  uint32_t retries;
  /** Told of requests that found no memory. NULL: nobody is told. */
  gpubuf_pinned_notify_fn notify;
  /** Handed to notify. */
  void *notify_user_data;
  /**
   * Asked for a cure before the policy of the request is followed; not for requests that it makes itself of this manager, on
   * the thread that it is called on. NULL: nobody is asked.
   */
  gpubuf_out_of_memory_fn out_of_memory;
  /** Handed to out_of_memory. */
  void *out_of_memory_user_data;
  /** For messages; NULL: none. Copied. */
  const char *label;
} gpubuf_pinned_options;

/** One request. Set up by gpubuf_pinned_request_init; bytes, or rank, shape and dtype, have no default. */
typedef struct gpubuf_pinned_request {
  /** sizeof(gpubuf_pinned_request) */
  uint32_t struct_size;
  /** GPUBUF_OVER_BUDGET_: what if there is no memory. Default: fail. */
  uint32_t over_budget;
  /** How many bytes; 0 where a shape says it. */
  uint64_t bytes;
  /** The host address is a multiple of this: a power of two up to 2 MiB. 0, the default: 256. */
  uint64_t alignment;
  /** The dimensions, of which rank count. */
  uint64_t shape[8];
  /** 0 where bytes says how much. */
  uint32_t rank;
  /** GPUBUF_DTYPE_; 0 where bytes says how much. */
  uint32_t dtype;
  /** Whose block it is, up to 31 bytes; NULL: nobody's. Copied. */
  const char *owner;
  /** GPUBUF_OVER_BUDGET_WAIT: for how long. Default: the device's. */
  uint64_t timeout_ns;
  /** GPUBUF_OVER_BUDGET_WAIT: the higher goes first. */
  int32_t priority;
  /** GPUBUF_TWIN_: whether the block has a twin in device memory. */
  uint32_t device_side;
} gpubuf_pinned_request;

/** A manager's figures: bytes and counts at this moment, then what only grows. */
typedef struct gpubuf_pinned_stats {
  /** sizeof(gpubuf_pinned_stats), set by the caller. */
  uint32_t struct_size;
  /** 0 */
  uint32_t reserved;
  /** The budget: always the sum of the next five. */
  uint64_t budget_bytes;
  /** Requested bytes of blocks that are held, or wait for their last use. */
  uint64_t requested_bytes;
  /** Requested bytes of blocks that were given back, which slabs keep to be given out again. */
  uint64_t cached_bytes;
  /** Requested bytes of blocks whose completion could not be proven. */
  uint64_t quarantined_bytes;
  /** Bytes of reservations, and of requests under way. */
  uint64_t reserved_bytes;
  /** What is left. */
  uint64_t available_bytes;
  /** Of requested_bytes: given back, and waiting for the last use. */
  uint64_t pending_bytes;
  /** What the blocks take up, padding included, pageable ones too. */
  uint64_t actual_bytes;
  /** Page-locked: whole slabs. */
  uint64_t locked_bytes;
  /** Of these: slabs in which nothing lives. */
  uint64_t idle_bytes;
  /** Of these: on huge pages, where that was asked for. */
  uint64_t huge_bytes;
  /** The largest block that the slabs have room for. */
  uint64_t largest_free_bytes;
  /** Requested bytes of pageable blocks, outside the budget. */
  uint64_t pageable_bytes;
  /** The most requested_bytes there were. */
  uint64_t peak_requested_bytes;
  /** The most locked_bytes there were. */
  uint64_t peak_locked_bytes;
  /** Blocks that are held, or wait for their last use. */
  uint64_t blocks;
  /** Of these: waiting for their last use. */
  uint64_t pending_blocks;
  /** Of these: pageable. */
  uint64_t pageable_blocks;
  /** Slabs there are. */
  uint64_t slabs;
  /** Threads that wait for memory. */
  uint64_t waiters;
  /** Blocks given out. */
  uint64_t allocations;
  /** Blocks given back. */
  uint64_t frees;
  /** Requests that got pageable memory instead. */
  uint64_t fallbacks;
  /** Requests refused for want of memory. */
  uint64_t refusals;
  /** Times that out_of_memory had something tried again. */
  uint64_t retries;
  /** Requests that waited for memory. */
  uint64_t waits;
  /** Time spent in that. */
  uint64_t wait_ns;
  /** Waits that ended by their deadline, and tries that would have had to wait. */
  uint64_t timeouts;
  /** Slabs made. */
  uint64_t slabs_made;
  /** Slabs given back. */
  uint64_t slabs_freed;
} gpubuf_pinned_stats;

/** What an owner has. An entry of lists: it never grows. */
typedef struct gpubuf_pinned_share {
  /** Who, ended by a 0; empty: blocks without an owner. */
  char owner[32];
  /** Requested bytes of the owner's blocks, those included that wait for their last use, and pageable ones. */
  uint64_t bytes;
  /** How many there are. */
  uint64_t blocks;
} gpubuf_pinned_share;

/** How a set of slots is made. Set up by gpubuf_slots_options_init. */
typedef struct gpubuf_slots_options {
  /** sizeof(gpubuf_slots_options) */
  uint32_t struct_size;
  /** Staging entries, 1 to 16. Default: 2, so that one is filled while the other is copied. */
  uint32_t depth;
  /** Read-back entries, 0 to 64. Default: 2. */
  uint32_t read_back_depth;
  /** Copies of the device memory, 1 to 4, taken in turn by the committed steps. Default: 1. */
  uint32_t device_depth;
  /** Bytes of each read-back entry. Default: 64 KiB. */
  uint64_t read_back_bytes;
  /** Written rows at most this many bytes apart are brought over in one copy. Default: 64 KiB. */
  uint64_t gap_bytes;
  /** For messages; NULL: none. Copied. */
  const char *label;
  /** Sizes that steps are padded to, rising; NULL: 1, 2, 4, multiples of 8 below 256 and of 16 up to 512. Copied. */
  const uint64_t *padded_sizes;
  /** How many, at most 4096. */
  uint64_t padded_size_count;
} gpubuf_slots_options;

/** A slot to add. Set up by gpubuf_slot_options_init; dtype, rank, shape and name have no default. */
typedef struct gpubuf_slot_options {
  /** sizeof(gpubuf_slot_options) */
  uint32_t struct_size;
  /** GPUBUF_DTYPE_ */
  uint32_t dtype;
  /** Dimensions: 1 to GPUBUF_MAX_RANK. */
  uint32_t rank;
  /** GPUBUF_SLOT_REQUIRED (the default), GPUBUF_SLOT_KEPT or GPUBUF_SLOT_DYNAMIC. */
  uint32_t kind;
  /** 1: a table so large, or changed so seldom, that it is copied on its own. */
  uint32_t own_copy;
  /** 1: it has a row for each token of a step, see gpubuf_step_write_many and gpubuf_step_pad_tokens. */
  uint32_t follows_tokens;
  /** The most elements per dimension, outermost first; the first dimension counts the rows. */
  uint64_t shape[8];
  /** One element that gpubuf_step_pad repeats, and that kept rows hold until they are written; NULL: zero. Copied. */
  const void *pad_value;
  /** Unique in its set. Copied. */
  const char *name;
} gpubuf_slot_options;

/** What a slot is, and where it lies. */
typedef struct gpubuf_slot_info {
  /** sizeof(gpubuf_slot_info), set by the caller. */
  uint32_t struct_size;
  /** GPUBUF_DTYPE_ */
  uint32_t dtype;
  /** GPUBUF_SLOT_REQUIRED, GPUBUF_SLOT_KEPT or GPUBUF_SLOT_DYNAMIC. */
  uint32_t kind;
  /** 1 if it is copied on its own. */
  uint32_t own_copy;
  /** The most rows. */
  uint64_t rows;
  /** Bytes of one. */
  uint64_t row_bytes;
  /** Bytes in all. */
  uint64_t bytes;
  /** From the start of the device memory. */
  uint64_t offset;
  /** The address for kernels in copy 0 of the device memory: the same for the life of the set; 0 for a dynamic slot. */
  uint64_t device_address;
  /** 1 if it has a row for each token of a step. */
  uint32_t follows_tokens;
  /** Dimensions. */
  uint32_t rank;
  /** The most elements per dimension; 1 past the rank. */
  uint64_t shape[8];
} gpubuf_slot_info;

/** The figures of a set of slots. Bytes of copies and steps are sums over all commits. */
typedef struct gpubuf_slots_stats {
  /** sizeof(gpubuf_slots_stats), set by the caller. */
  uint32_t struct_size;
  /** Staging entries. */
  uint32_t depth;
  /** Bytes of one of them; 0 before freeze. */
  uint64_t arena_bytes;
  /** Bytes on the device, of all copies; 0 before freeze. */
  uint64_t device_bytes;
  /** Steps begun. */
  uint64_t steps_begun;
  /** Steps committed. */
  uint64_t steps_committed;
  /** Steps given up. */
  uint64_t steps_aborted;
  /** Steps retired. */
  uint64_t steps_retired;
  /** Copies of commits. */
  uint64_t copies;
  /** Bytes of the rows that steps wrote or padded. */
  uint64_t used_bytes;
  /** Bytes of those copies. */
  uint64_t copied_bytes;
  /** Copies made because the changed rows of a table lay too far apart for one. */
  uint64_t island_copies;
  /** Fences recorded. */
  uint64_t fences_recorded;
  /** Waits queued on streams. */
  uint64_t device_waits;
  /** Waits of host threads. */
  uint64_t host_waits;
  /** Time spent in them. */
  uint64_t host_wait_ns;
  /** Waits that ended by their deadline, and tries that would have had to wait. */
  uint64_t timeouts;
  /** Calls refused. */
  uint64_t refusals;
  /** Commits that failed after work was queued, or whose copy failed when it ran. */
  uint64_t torn_commits;
  /** Read-backs queued. */
  uint64_t read_backs;
  /** Entries that a step can begin in at once. */
  uint32_t free_entries;
  /** Entries lost for good. */
  uint32_t quarantined_entries;
  /** Copies of the device memory. */
  uint32_t device_depth;
  /** Steps committed and not retired. */
  uint32_t unretired_steps;
  /** Bytes of kept rows sent to a copy of the device memory because they had been committed to others. */
  uint64_t caught_up_bytes;
  /** Rows that padding added, of all slots. */
  uint64_t padded_rows;
  /** Dynamic slots bound. */
  uint64_t bindings;
} gpubuf_slots_stats;

/** Rows of one slot, of many that are staged in one call. It never grows. */
typedef struct gpubuf_slot_rows {
  /** The slot's number. */
  uint32_t slot;
  /** 0 */
  uint32_t reserved;
  /** The first row. */
  uint64_t first_row;
  /** How many; GPUBUF_ALL: everything from `first_row` on. */
  uint64_t row_count;
  /** Their bytes; NULL where there are none. */
  const void *rows;
} gpubuf_slot_rows;

/**
 * What staged rows are to be. Set up by gpubuf_staged_rows_options_init. With no buffer, dtype, rows and row_elements have no
 * default; with one, they are the buffer's, and must be 0.
 */
typedef struct gpubuf_staged_rows_options {
  /** sizeof(gpubuf_staged_rows_options) */
  uint32_t struct_size;
  /** GPUBUF_DTYPE_ of the table's elements. */
  uint32_t dtype;
  /** Rows of the table. */
  uint64_t rows;
  /** Elements of each. */
  uint64_t row_elements;
  /**
   * Rows that there is memory for, so that growing leaves the address as it is. 0, or less than rows: as many as those.
   * Borrowed memory must have as many.
   */
  uint64_t capacity_rows;
  /** Where the table lives: device (the default) or uva. */
  uint32_t placement;
  /** Staging entries, 1 to 16. Default: 2, so that the host may be ahead of the device by two applies. */
  uint32_t depth;
  /**
   * Writes that can be staged at a time, up to 1,048,576. Default: 1024. One that goes on where the last one ended counts as a
   * part of that.
   */
  uint32_t max_writes;
  /** 0 */
  uint32_t reserved;
  /** Bytes that can be staged at a time, up to 1 GiB. Default: 256 KiB. */
  uint64_t staging_bytes;
  /**
   * A buffer that is the table: its device side, or its uva or managed host side. Its rows are those of the outermost
   * dimension; a window has gaps between them. NULL: the table's memory is as below.
   */
  gpubuf_buffer *buffer;
  /** The caller's device memory for the table, aligned to 256 bytes; 0: the library's own, zeroed. */
  uint64_t device_memory;
  /** Called once when nothing uses the caller's memory any more; not if creating fails. NULL: nobody is told. */
  gpubuf_release_fn release;
  /** Handed to release. */
  void *release_user_data;
  /** For messages; NULL: none. Copied. */
  const char *label;
} gpubuf_staged_rows_options;

/** What staged rows are, and what is staged. */
typedef struct gpubuf_staged_rows_info {
  /** sizeof(gpubuf_staged_rows_info), set by the caller. */
  uint32_t struct_size;
  /** GPUBUF_DTYPE_ */
  uint32_t dtype;
  /** Rows that the table has now. */
  uint64_t rows;
  /** Elements of each. */
  uint64_t row_elements;
  /** Writes that are staged. */
  uint64_t staged_writes;
  /** Their bytes. */
  uint64_t staged_bytes;
  /** Of the options. */
  uint64_t max_writes;
  /** Of the options. */
  uint64_t max_staged_bytes;
  /** Staging entries. */
  uint32_t depth;
  /**
   * 1: one kernel puts the writes in their places. 0: the kernel cannot be had, and each piece is a copy of its own;
   * gpubuf_describe says why.
   */
  uint32_t by_kernel;
} gpubuf_staged_rows_info;

/** The figures of staged rows, since they were created. */
typedef struct gpubuf_staged_rows_stats {
  /** sizeof(gpubuf_staged_rows_stats), set by the caller. */
  uint32_t struct_size;
  /** Staging entries that can be packed at once. */
  uint32_t free_entries;
  /** Staging entries lost for good. */
  uint32_t quarantined_entries;
  /** 0 */
  uint32_t reserved;
  /** Writes that were staged. */
  uint64_t writes;
  /** Their bytes. */
  uint64_t staged_bytes;
  /** Applies that had something to apply, and were queued. */
  uint64_t applies;
  /** Pieces that they wrote: what was overwritten before it was applied is none, or is cut out. */
  uint64_t pieces;
  /** Their bytes. */
  uint64_t applied_bytes;
  /** Copies of applies: one each, or, without the kernel, one for each piece. */
  uint64_t copies;
  /** Bytes of those copies, with what tells the kernel where the pieces go. */
  uint64_t copied_bytes;
  /** Kernels launched. */
  uint64_t scatters;
  /** Waits queued on streams, those of consumers included. */
  uint64_t device_waits;
  /** Waits of host threads for a staging entry. */
  uint64_t host_waits;
  /** Time spent in them. */
  uint64_t host_wait_ns;
  /** Waits that ended by their deadline, and tries that would have had to wait. */
  uint64_t timeouts;
  /** Calls refused. */
  uint64_t refusals;
  /** Applies of which only a part was queued. */
  uint64_t torn_applies;
  /** Times that the table got more rows. */
  uint64_t grows;
  /** Times that its address changed with that. */
  uint64_t moves;
} gpubuf_staged_rows_stats;

/** What a buffer is to be, or is: a value. Set up by gpubuf_spec_init; dtype, rank and shape have no default. */
typedef struct gpubuf_spec {
  /** sizeof(gpubuf_spec) */
  uint32_t struct_size;
  /** GPUBUF_DTYPE_ */
  uint32_t dtype;
  /** Dimensions: 1 to GPUBUF_MAX_RANK. */
  uint32_t rank;
  /** Where the host side lives: none, pageable, pinned (the default), uva or managed. */
  uint32_t host_placement;
  /** Where the device side lives: none or device (the default). */
  uint32_t device_placement;
  /** 0 */
  uint32_t reserved;
  /** Elements per dimension, outermost first; row-major. What is past rank is not looked at. */
  uint64_t shape[8];
} gpubuf_spec;

/** What a workspace is to be. Set up by gpubuf_workspace_options_init. */
typedef struct gpubuf_workspace_options {
  /** sizeof(gpubuf_workspace_options) */
  uint32_t struct_size;
  /** The most entries there may be; 0 (the default): no limit. */
  uint32_t max_entries;
  /** The most bytes of both sides of all entries; 0 (the default): no limit. */
  uint64_t max_bytes;
  /** For messages; NULL: none. Copied. */
  const char *label;
} gpubuf_workspace_options;

/** One entry of a workspace, as gpubuf_workspace_list tells it. Valid during the call. */
typedef struct gpubuf_workspace_entry {
  /** sizeof(gpubuf_workspace_entry) in the library. */
  uint32_t struct_size;
  /** GPUBUF_ENTRY_ */
  uint32_t state;
  /** Its name; NULL: it has none. */
  const char *name;
  /** What it is. */
  const gpubuf_spec *spec;
  /** Bytes of both sides. */
  uint64_t bytes;
  /** Handles that hold it. */
  uint64_t holders;
  /** How often it was given out. */
  uint64_t uses;
  /** When it was given out last: the higher, the later. */
  uint64_t last_use;
} gpubuf_workspace_entry;

/** Told of one entry: called inside gpubuf_workspace_list, on its thread, under no lock of the library. It must not throw. */
typedef void (*gpubuf_workspace_entry_fn)(const gpubuf_workspace_entry *entry,
                                          void *user_data);

/** A workspace's figures: what is the case at this moment, then what only grows. */
typedef struct gpubuf_workspace_stats {
  /** sizeof(gpubuf_workspace_stats), set by the caller. */
  uint32_t struct_size;
  /** Its limit; 0 is none. */
  uint32_t max_entries;
  /** Entries in all, those that are being made included. */
  uint64_t entries;
  /** Entries that somebody holds. */
  uint64_t held_entries;
  /** Entries that nobody holds. Work may still use them. */
  uint64_t free_entries;
  /** Entries with a name. */
  uint64_t named_entries;
  /** Bytes of both sides of all entries. */
  uint64_t bytes;
  /** Of those that somebody holds. */
  uint64_t held_bytes;
  /** Its limit; 0 is none. */
  uint64_t max_bytes;
  /** The most bytes that there were at one time. */
  uint64_t peak_bytes;
  /** Times an entry was found by its name. */
  uint64_t found;
  /** Times a free entry went to a next holder. */
  uint64_t reused;
  /** Entries made. */
  uint64_t made;
  /** Free entries that were taken out, for others or by gpubuf_workspace_evict and gpubuf_workspace_clear. */
  uint64_t evicted;
  /**
   * Entries that could not be used again: their address was with undeclared work, a guard was open, a graph held them, or
   * their completion could not be proven.
   */
  uint64_t retired;
  /** Calls refused with GPUBUF_BUDGET. */
  uint64_t refused;
  /** Waits for work on an entry, or for another thread that made one or gave one back. */
  uint64_t waits;
  /** Time spent in that. */
  uint64_t wait_ns;
  /** Waits that ended by their deadline, and tries that would have had to wait. */
  uint64_t timeouts;
} gpubuf_workspace_stats;

/** What a tensor is to be. Set up by gpubuf_tensor_options_init; dtype, rank and shape have no default. */
typedef struct gpubuf_tensor_options {
  /** sizeof(gpubuf_tensor_options) */
  uint32_t struct_size;
  /** GPUBUF_DTYPE_ */
  uint32_t dtype;
  /** Dimensions: 1 to GPUBUF_MAX_RANK. */
  uint32_t rank;
  /** The most blocks of the pool that it holds at a time: 1 to 8. Default: 2. */
  uint32_t max_blocks;
  /** Elements per dimension, outermost first; row-major. */
  uint64_t shape[8];
  /** For messages; NULL: none. Copied. */
  const char *label;
} gpubuf_tensor_options;

/** What a tensor is. */
typedef struct gpubuf_tensor_info {
  /** sizeof(gpubuf_tensor_info), set by the caller. */
  uint32_t struct_size;
  /** GPUBUF_DTYPE_ */
  uint32_t dtype;
  /** Dimensions. */
  uint32_t rank;
  /** The most blocks that it holds at a time. */
  uint32_t max_blocks;
  /** Elements per dimension; 0 from rank on. */
  uint64_t shape[8];
  /** Elements in all. */
  uint64_t count;
  /** Bytes in all. */
  uint64_t bytes;
} gpubuf_tensor_info;

/** A tensor's figures. */
typedef struct gpubuf_tensor_stats {
  /** sizeof(gpubuf_tensor_stats), set by the caller. */
  uint32_t struct_size;
  /** Blocks that it holds now; 0 while another thread is inside. */
  uint32_t held_blocks;
  /** Publishes. */
  uint64_t publishes;
  /** Those of them where nothing was new. */
  uint64_t unchanged;
  /** Bytes that publishes copied from the truth to blocks. */
  uint64_t copied_bytes;
  /** Bytes that they did not need to copy, since the block had them. */
  uint64_t skipped_bytes;
  /** Bytes taken back from blocks. */
  uint64_t read_bytes;
  /** Waits for work on a block. */
  uint64_t waits;
  /** Time spent in that. */
  uint64_t wait_ns;
  /** Waits that ended by their deadline, and tries that would have had to wait. */
  uint64_t timeouts;
} gpubuf_tensor_stats;

/** What tiers are to be. Set up by gpubuf_tiers_options_init; at least one budget has to be set. */
typedef struct gpubuf_tiers_options {
  /** sizeof(gpubuf_tiers_options) */
  uint32_t struct_size;
  /** Blocks that one step moves up, at most. Default: 16. */
  uint32_t moves_per_step;
  /** Bytes of device memory; 0: there is no such tier. */
  uint64_t device_bytes;
  /** Bytes of managed memory; 0: there is no such tier. */
  uint64_t managed_bytes;
  /** Bytes of page-locked memory, which kernels use in place where the device sees it; 0: there is no such tier. */
  uint64_t pinned_bytes;
  /** Bytes of ordinary host memory; 0: there is no such tier. */
  uint64_t pageable_bytes;
  /** For messages; NULL: none. Copied. */
  const char *label;
} gpubuf_tiers_options;

/** The figures of tiers: what is the case at this moment, then what only grows. */
typedef struct gpubuf_tiers_stats {
  /** sizeof(gpubuf_tiers_stats), set by the caller. */
  uint32_t struct_size;
  /** 0 */
  uint32_t reserved;
  /** Blocks whose last move is not proven yet. */
  uint64_t moving_blocks;
  /** Accesses of blocks. */
  uint64_t accesses;
  /** Those of them that found the block in the tier. */
  uint64_t hits;
  /** Moves to a higher tier. */
  uint64_t promotions;
  /** Moves to a lower tier. */
  uint64_t demotions;
  /** Bytes of all moves. */
  uint64_t moved_bytes;
  /** Moves whose copy failed when it ran. */
  uint64_t failed_moves;
  /** Moves whose copy could not be queued. */
  uint64_t refused_moves;
  /** Waits for moves, and for work that used a block. */
  uint64_t waits;
  /** Time spent in that. */
  uint64_t wait_ns;
  /** Waits that ended by their deadline, and tries that would have had to wait. */
  uint64_t timeouts;
} gpubuf_tiers_stats;

/** One tier at this moment. */
typedef struct gpubuf_tier_stats {
  /** sizeof(gpubuf_tier_stats), set by the caller. */
  uint32_t struct_size;
  /** 0 */
  uint32_t reserved;
  /** Bytes at most; 0: there is no such tier. */
  uint64_t budget_bytes;
  /** Bytes that are used: by blocks, by moves that are not proven, and by work on blocks that have left or ended. */
  uint64_t used_bytes;
  /** Bytes that nobody uses, kept for the next block. */
  uint64_t kept_bytes;
  /** Blocks that live there. */
  uint64_t blocks;
} gpubuf_tier_stats;

/** Where a tiered block is. */
typedef struct gpubuf_tiered_block_info {
  /** sizeof(gpubuf_tiered_block_info), set by the caller. */
  uint32_t struct_size;
  /** Its tier, as GPUBUF_PLACEMENT_. */
  uint32_t tier;
  /** 1: its last move is not proven yet. */
  uint32_t moving;
  /** Accesses that are open. */
  uint32_t holds;
  /** Its size. */
  uint64_t bytes;
} gpubuf_tiered_block_info;

/**
 * Told that memory is high, or low again: GPUBUF_PRESSURE_, 1 or 0, the reading, and whose memory it is (never NULL, valid during
 * the call). Called inside gpubuf_pressure_step, gpubuf_device_maintain or on the upkeep thread, under no lock of the library. It
 * may call the library, and must not throw.
 */
typedef void (*gpubuf_pressure_notify_fn)(uint32_t what,
                                          uint32_t high,
                                          uint64_t used_bytes,
                                          uint64_t limit_bytes,
                                          const char *of,
                                          void *user_data);

/**
 * Reads memory: GPUBUF_PRESSURE_DEVICE or _HOST, and the library's own reading, which it may change. A limit of 0 is not known and
 * never high. Called as gpubuf_pressure_notify_fn is.
 */
typedef void (*gpubuf_pressure_read_fn)(uint32_t what,
                                        uint64_t *inout_used_bytes,
                                        uint64_t *inout_limit_bytes,
                                        void *user_data);

/** What a watch over memory is to be. Set up by gpubuf_pressure_options_init. */
typedef struct gpubuf_pressure_options {
  /** sizeof(gpubuf_pressure_options) */
  uint32_t struct_size;
  /** From so many percent of its limit on memory is high, at most 100. Default: 90. */
  uint32_t high_percent;
  /** Once high, it is low again at so many percent or less, and that is what is aimed at. Default: 80. */
  uint32_t low_percent;
  /** 0 */
  uint32_t reserved;
  /** Told of changes. NULL: nobody is told. */
  gpubuf_pressure_notify_fn notify;
  /** Handed to notify. */
  void *notify_user_data;
  /** Reads memory. NULL: the driver's free and total device memory, and the fuller of control group and machine. */
  gpubuf_pressure_read_fn read;
  /** Handed to read. */
  void *read_user_data;
  /** For messages; NULL: none. Copied. */
  const char *label;
} gpubuf_pressure_options;

/** A watch's figures: as of its last look, then what only grows. */
typedef struct gpubuf_pressure_stats {
  /** sizeof(gpubuf_pressure_stats), set by the caller. */
  uint32_t struct_size;
  /** 0 */
  uint32_t reserved;
  /** What is high: device, host, and each budget count one. */
  uint64_t high_gauges;
  /** Device memory in use, of all processes. */
  uint64_t device_used_bytes;
  /** Device memory there is; 0: not known. */
  uint64_t device_limit_bytes;
  /** Host memory in use. */
  uint64_t host_used_bytes;
  /** Host memory there may be; 0: not known. */
  uint64_t host_limit_bytes;
  /** Looks so far. */
  uint64_t looks;
  /** Times that something turned high. */
  uint64_t rises;
  /** Times that something was low again. */
  uint64_t falls;
  /** Free blocks that pools let go. */
  uint64_t trimmed_blocks;
  /** Free entries that workspaces let go. */
  uint64_t evicted_entries;
  /** Idle bytes that managers of page-locked memory and tiers gave back. */
  uint64_t freed_bytes;
  /** Bytes of blocks that tiers sent down. */
  uint64_t demoted_bytes;
} gpubuf_pressure_stats;

/** What a predictor is to be. Set up by gpubuf_predictor_options_init. */
typedef struct gpubuf_predictor_options {
  /** sizeof(gpubuf_predictor_options) */
  uint32_t struct_size;
  /** GPUBUF_METHOD_: how it predicts. Default: the blend. */
  uint32_t method;
  /** How many sizes it predicts, 1 to GPUBUF_MAX_PREDICTED: a hit is a next size among so many. Default: 3. */
  uint32_t count;
  /** Over how many records the most common sizes are counted, 1 to 4096. Default: 100. */
  uint32_t window;
  /** The most sizes known at a time, window to 4096: a new one takes the place of the least recently used. Default: 256. */
  uint32_t most_sizes;
  /** How many steps are under way at a time, 1 to window; for gpubuf_predictor_suggest alone. Default: 2. */
  uint32_t steps_in_flight;
  /** For messages; NULL: none. Copied. */
  const char *label;
} gpubuf_predictor_options;

/** A predictor's figures. Sums of bytes stop at UINT64_MAX. */
typedef struct gpubuf_predictor_stats {
  /** sizeof(gpubuf_predictor_stats), set by the caller. */
  uint32_t struct_size;
  /** GPUBUF_METHOD_: the method that it goes by at this moment, which is the blend's choice. */
  uint32_t believed;
  /** Sizes recorded. */
  uint64_t records;
  /** Records before which there was a prediction: all but the first. */
  uint64_t predictions;
  /** Of those: the size was among the predicted ones. */
  uint64_t hits;
  /** Of those: it was among the most common ones of the window, for comparison. */
  uint64_t most_common_hits;
  /** Bytes of all predicted sizes. */
  uint64_t predicted_bytes;
  /** Bytes of predicted sizes that did not come next: what is wasted where every prediction is made anew for each step. */
  uint64_t waste_bytes;
  /** Bytes that were made ahead. What is free already is not made again. */
  uint64_t warmed_bytes;
  /** Of that: what was made for a size that has come since. */
  uint64_t warmed_used_bytes;
  /** Sizes known at this moment. */
  uint64_t sizes;
  /** Sizes that made room for others. */
  uint64_t evictions;
} gpubuf_predictor_stats;

/**
 * Has memory for a step of `size` bytes ready, and free. Called inside gpubuf_predictor_prewarm, under no lock of the library. It
 * may call the library, and must not throw. Returns the bytes that it made; 0: they were there, or cannot be had.
 */
typedef uint64_t (*gpubuf_warm_fn)(uint64_t size, void *user_data);

/** The inputs of a decode loop. Set up by gpubuf_decode_options_init. */
typedef struct gpubuf_decode_options {
  /** sizeof(gpubuf_decode_options) */
  uint32_t struct_size;
  /** As in gpubuf_slots_options. */
  uint32_t depth;
  /** As in gpubuf_slots_options. */
  uint32_t read_back_depth;
  /** As in gpubuf_slots_options. */
  uint32_t device_depth;
  /** Requests in one step, at most. Default: 256. */
  uint64_t max_batch;
  /** Tokens in one step, at most. Default: 8192. */
  uint64_t max_tokens;
  /** Tokens of one request, at most. Default: 32768. */
  uint64_t max_seq_len;
  /** Tokens of one block of the key-value cache. Default: 16. */
  uint64_t block_size;
  /** As in gpubuf_slots_options. */
  uint64_t read_back_bytes;
  /** As in gpubuf_slots_options. */
  uint64_t gap_bytes;
  /** For messages; NULL: none. Copied. */
  const char *label;
  /** As in gpubuf_slots_options. */
  const uint64_t *padded_sizes;
  /** As in gpubuf_slots_options. */
  uint64_t padded_size_count;
  /**
   * What the memory of the slots is taken from, and goes back to when its last use is over: this workspace. At most one of
   * source_workspace, source_tiers and tiered is given; none: the device itself.
   */
  gpubuf_workspace *source_workspace;
  /** These tiers, which need a budget of device memory and one of page-locked memory. */
  gpubuf_tiers *source_tiers;
  /**
   * Tiers that are made with the slots, for blocks of the caller's under the same budgets: see gpubuf_slots_tiers. Read in the
   * call only.
   */
  const gpubuf_tiers_options *tiered;
  /**
   * A predictor is made with the slots, and told of the padded number of tokens of each step that is committed: see
   * gpubuf_slots_predictor. NULL: none. Read in the call only.
   */
  const gpubuf_predictor_options *predictive;
} gpubuf_decode_options;

/** Some elements in a row. One entry of a list: it has no struct_size and never grows. */
typedef struct gpubuf_piece {
  /** The first element; may be NULL where count is 0. */
  const void *data;
  /** How many elements. */
  size_t count;
} gpubuf_piece;

/**
 * A function in the place of a kernel: called once, in stream order, on the stream's thread. It must not throw, nor wait for
 * the device: such waits answer GPUBUF_WOULD_DEADLOCK.
 */
typedef void (*gpubuf_host_fn)(gpubuf_host_view *view, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the loaded library: major * 1000000 + minor * 1000 + patch, to compare with GPUBUF_VERSION_NUMBER.
 *
 * Works at any time, as do gpubuf_version_string, gpubuf_status_name, gpubuf_last_error_message and gpubuf_dtype_size.
 */
GPUBUF_API
uint32_t gpubuf_version_number(void);

/** The version of the loaded library as text, "0.1.0". Static. */
GPUBUF_API const char *gpubuf_version_string(void);

/** A status's name, "GPUBUF_BUSY"; "GPUBUF_UNKNOWN_STATUS" for other numbers. Static. */
GPUBUF_API const char *gpubuf_status_name(int32_t status);

/**
 * The message of this thread's last call that did not answer GPUBUF_OK: which object, which use, which stream, what to do.
 *
 * `buffer` gets as much as fits and a NUL, if `capacity` is not 0; it may be NULL if it is. Returns the full length,
 * without the NUL: 0 if no call failed yet. At most 1024 bytes; for people, not for programs.
 */
GPUBUF_API
size_t gpubuf_last_error_message(char *buffer,
                                 size_t capacity);

/**
 * Sends the library's messages to `callback` with `user_data`; NULL is silence, the default.
 *
 * Ownership: `user_data` must stay valid until the callback was replaced and its calls have returned; a call that began
 * before may still run when this returns.
 * Threads: any; also from inside the callback.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_log_set_callback(gpubuf_log_fn callback,
                                      void *user_data);

/**
 * Ends the library's work in this process: waits for all work on all devices, up to `timeout_ns` each, and closes them.
 *
 * Every later call answers GPUBUF_SHUT_DOWN, except `*_destroy`, which answer GPUBUF_OK, and this one, which may be
 * repeated, and gpubuf_report. What is still in use at the deadline is left to the process exit. Not needed before the process
 * exits. Objects that were not destroyed are named in the log (GPUBUF_LOG_WARN), with where they were made if GPUBUF_TRACK=1 is
 * in the environment; with GPUBUF_LEAKS=report there, on the standard error as well.
 *
 * Threads: any. Threads that wait for a pool's block get GPUBUF_SHUT_DOWN; waits for the device end with it or
 * at their own deadline.
 * Errors: GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST: the first device that could not be drained;
 * GPUBUF_BUSY: objects were not destroyed, and GPUBUF_LEAKS=error is in the environment. The library is shut down all the same.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_shutdown(uint64_t timeout_ns);

/**
 * The state of any object in words, for logs and debuggers: its uses, guards, waits and figures.
 *
 * `buffer` gets as much as fits and a NUL, if `capacity` is not 0; it may be NULL if it is. `out_length`, which may be NULL,
 * gets the full length without the NUL. The text may change with every version.
 *
 * Threads: any; what another thread is working on at this moment is told so.
 * Errors: GPUBUF_STALE_HANDLE. Works on broken objects.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_describe(const void *handle,
                              char *buffer,
                              size_t capacity,
                              size_t *out_length);

/**
 * Gives any object a label for messages, or, with NULL or "", takes it away. A block's is its pool's. The text is copied.
 *
 * Threads: any.
 * Errors: GPUBUF_INVALID_ARGUMENT (not UTF-8), GPUBUF_STALE_HANDLE.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_set_label(const void *handle,
                               const char *label);

/** Bytes of one element; 0 for a number that is no GPUBUF_DTYPE_. */
GPUBUF_API size_t gpubuf_dtype_size(uint32_t dtype);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_device_options_init(gpubuf_device_options *options,
                                uint32_t struct_size);

/**
 * How many devices a backend has: 0 where its driver is missing.
 *
 * Errors: GPUBUF_INVALID_ARGUMENT.
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_device_count(uint32_t backend, uint32_t *out_count);

/**
 * Opens a device. `options` may be NULL: device 0 of GPUBUF_BACKEND_AUTO.
 *
 * With GPUBUF_BACKEND_CUDA the driver is loaded now: GPUBUF_CUDA_DRIVER (a path, in the environment) alone if it is set, else
 * libcuda.so.1, else libcuda.so. The context current on the calling thread stays current, here and in every other function.
 * Ownership: the caller's, until gpubuf_device_destroy. Opening an ordinal twice makes two devices whose objects do not mix.
 * Threads: any.
 * Errors: GPUBUF_NOT_FOUND (no such ordinal), GPUBUF_DRIVER_MISSING (no driver, no device, or a symbol that it lacks: the
 * message says which), GPUBUF_VERSION_MISMATCH (older than CUDA 12.0), GPUBUF_UNSUPPORTED, GPUBUF_DRIVER_ERROR,
 * GPUBUF_INVALID_ARGUMENT (also a name that is none, or that more than one device has).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_open(const gpubuf_device_options *options,
                                 gpubuf_device **out_device);

/**
 * Ends the handle. Objects made from the device go on working; the device itself is closed with the last of them.
 *
 * From then on nobody can call gpubuf_device_maintain: what destroyed objects left is freed when another object of the
 * device is destroyed, when a device is opened, or by gpubuf_shutdown. NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_device_destroy(gpubuf_device *device);

/** Which backend it is: GPUBUF_BACKEND_CUDA or GPUBUF_BACKEND_HOST. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_backend(const gpubuf_device *device,
                                    uint32_t *out_backend);

/** What is known of the device. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_info_get(const gpubuf_device *device,
                                     gpubuf_device_info *inout_info);

/** The device's name, for people. `buffer`, `capacity` and `out_length` as in gpubuf_describe. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_name(const gpubuf_device *device,
                                 char *buffer,
                                 size_t capacity,
                                 size_t *out_length);

/** Why this backend was chosen, in words. `buffer`, `capacity` and `out_length` as in gpubuf_describe. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_backend_reason(const gpubuf_device *device,
                                           char *buffer,
                                           size_t capacity,
                                           size_t *out_length);

/**
 * Frees what destroyed objects left and is out of use by now, and calls its release callbacks. Never waits.
 *
 * `out_freed_bytes` may be NULL. Creating objects does the same; an application that does so rarely calls this now and then.
 * Threads: any.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_maintain(gpubuf_device *device,
                                     uint64_t *out_freed_bytes);

/**
 * Waits for all work on the device, then frees all that destroyed objects left, also what unseen work used.
 *
 * Call it at rest, when nobody queues work: it is what proves that work the library cannot see is over.
 * With CUDA it is a wait for the whole context, whoever queued the work; the try form looks at the library's streams first, and
 * then takes up to 0.2 s to learn of work that it has not seen.
 * Threads: any; not in a function that runs on a stream.
 * Errors: GPUBUF_COPY_FAILED (copies that failed since the last drain; all is freed nonetheless), GPUBUF_TIMEOUT and
 * GPUBUF_BUSY (nothing is lost: call it again), GPUBUF_CAPTURING (a stream of the device captures), GPUBUF_WOULD_DEADLOCK,
 * GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_drain(gpubuf_device *device,
                                  uint64_t timeout_ns);

/**
 * Waits for the work queued so far on every stream of the device; with CUDA as gpubuf_device_drain does.
 *
 * Threads: any; not in a function that runs on a stream.
 * Errors: GPUBUF_COPY_FAILED (copies that failed on a stream since it was last synchronized), GPUBUF_TIMEOUT, GPUBUF_BUSY,
 * GPUBUF_CAPTURING, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_synchronize(gpubuf_device *device,
                                        uint64_t timeout_ns);

/** The device's figures. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_stats_get(const gpubuf_device *device,
                                      gpubuf_device_stats *inout_stats);

/**
 * What is known of device `ordinal` of a backend, without opening it. Set struct_size first; no more than that is written, and
 * struct_size then says how much.
 *
 * With GPUBUF_BACKEND_CUDA the driver is loaded and initialised, once in the process, as gpubuf_device_count does: that can take
 * tenths of a second, and host memory, but no memory of a GPU. Together the two list all devices.
 * Threads: any.
 * Errors: GPUBUF_NOT_FOUND (no such ordinal), GPUBUF_DRIVER_MISSING, GPUBUF_VERSION_MISMATCH, GPUBUF_INVALID_ARGUMENT.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_summary_get(uint32_t backend,
                                        uint32_t ordinal,
                                        gpubuf_device_summary *inout_summary);

/**
 * Tries what the device can do, instead of believing it, and what the system allows. Set struct_size first; no more than that is
 * written, and struct_size then says how much.
 *
 * It allocates a few pages and a stream, queues a few copies, waits for those, and gives all of it back; other streams may be
 * busy or held meanwhile. `timeout_ns` is for all of its waits together. A test that cannot be made is
 * GPUBUF_ANSWER_NOT_TESTED, and no error. Where the device is found not to see the host's later writes, a copy
 * stands in for buffers and blocks of GPUBUF_PLACEMENT_UVA that are made from then on: gpubuf_buffer_publish and
 * gpubuf_block_publish are right in both cases. Memory of the caller's and managers of uva memory are GPUBUF_UNSUPPORTED there.
 * Threads: any; not in a function that runs on a stream. Not for the path of a step.
 * Errors: GPUBUF_INVALID_ARGUMENT (also GPUBUF_TIMEOUT_TRY), GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_probe(gpubuf_device *device,
                                  uint64_t timeout_ns,
                                  gpubuf_capabilities *inout_capabilities);

/**
 * What the latest probe saw about one capability (a GPUBUF_CAPABILITY_ number), in words: why not, and what to use instead.
 * `buffer`, `capacity` and `out_length` as in gpubuf_describe.
 *
 * Threads: any.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_NOT_BEGUN (the device was not probed).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_device_capability_reason(const gpubuf_device *device,
                                              uint32_t capability,
                                              char *buffer,
                                              size_t capacity,
                                              size_t *out_length);

/**
 * A new stream, in no order with any other.
 *
 * Ownership: the caller's, until gpubuf_stream_destroy.
 * Errors: GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_stream_create(gpubuf_device *device,
                                   gpubuf_stream **out_stream);

/**
 * A stream object over a stream of the driver's (a CUstream, or a cudaStream_t) that the caller goes on owning.
 *
 * NULL and CU_STREAM_LEGACY are the legacy default stream of the device's context; CU_STREAM_PER_THREAD is that of the calling
 * thread, and only that thread may queue through this object. Wrap a stream once: two objects over one stream are two
 * timelines, ordered by waits that are not needed. Ownership: destroy the object *before* the stream; it then records a last
 * fence, which goes on covering what was queued until then. Nothing waits.
 * Errors: GPUBUF_WRONG_DEVICE (a stream of another context), GPUBUF_UNSUPPORTED on the host backend, which has no native
 * streams, GPUBUF_DRIVER_ERROR (not a stream).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_stream_wrap_native(gpubuf_device *device,
                                        void *native_stream,
                                        gpubuf_stream **out_stream);

/**
 * The driver's handle of the stream (a CUstream), for kernels and graphs of the caller's; NULL on the host backend.
 *
 * A stream of the library's own ends with its object, and with the last object that still refers to it.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_stream_native(const gpubuf_stream *stream,
                                   void **out_native_stream);

/**
 * GPUBUF_OK if all work on the stream is done, GPUBUF_BUSY if not. Never waits.
 *
 * Errors: GPUBUF_CAPTURING, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_stream_query(gpubuf_stream *stream);

/**
 * Waits for the work queued so far.
 *
 * Threads: any; not in a function that runs on a stream.
 * Errors: GPUBUF_COPY_FAILED (copies that failed on it since the last call), GPUBUF_TIMEOUT, GPUBUF_BUSY (try form),
 * GPUBUF_CAPTURING, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_stream_synchronize(gpubuf_stream *stream,
                                        uint64_t timeout_ns);

/**
 * Makes work queued on the stream from now on wait, on the device, for the event's latest record.
 *
 * An event that was never recorded is done. A later record does not move the wait. The host does not wait.
 * Errors: GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_stream_wait_event(gpubuf_stream *stream,
                                       gpubuf_event *event);

/**
 * As gpubuf_stream_wait_event, for an event of the driver's (a CUevent, or a cudaEvent_t) that the caller recorded.
 *
 * With gpubuf_buffer_used_on and the like on this stream afterwards, work of streams that the library does not know is
 * declared: record an event behind it, have a stream wait for the event, declare the use on that stream.
 * Errors: GPUBUF_UNSUPPORTED on the host backend, GPUBUF_CAPTURING, GPUBUF_DEVICE_LOST, GPUBUF_DRIVER_ERROR.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_stream_wait_native_event(gpubuf_stream *stream,
                                              void *native_event);

/**
 * Records an event of the driver's after the work queued on the stream so far, so that the caller's own streams can wait for it.
 *
 * Errors: as gpubuf_stream_wait_native_event.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_stream_record_native_event(gpubuf_stream *stream,
                                                void *native_event);

/**
 * Ends the handle. Work queued on the stream still runs.
 *
 * NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API gpubuf_status gpubuf_stream_destroy(gpubuf_stream *stream);

/**
 * A new event, never recorded.
 *
 * Ownership: the caller's, until gpubuf_event_destroy.
 * Errors: GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_event_create(gpubuf_device *device,
                                  gpubuf_event **out_event);

/** As gpubuf_event_create, for an event that notes when its mark is reached. Only such events cost a time stamp. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_event_create_timed(gpubuf_device *device,
                                        gpubuf_event **out_event);

/**
 * Nanoseconds of device time from the latest record of `earlier` to that of `later`, two timed events of one device.
 *
 * Never waits. The driver's resolution is about half a microsecond.
 * Errors: GPUBUF_BUSY (a mark is not reached yet), GPUBUF_NOT_BEGUN (never recorded), GPUBUF_UNSUPPORTED (not timed),
 * GPUBUF_WRONG_DEVICE, GPUBUF_DEVICE_LOST, GPUBUF_COPY_FAILED (a record that failed when it ran, which only an emulation has).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_event_elapsed_ns(const gpubuf_event *earlier,
                                      const gpubuf_event *later,
                                      uint64_t *out_ns);

/**
 * Marks the work queued on the stream so far. Recording again moves the mark; who waits for the earlier one goes on with it.
 *
 * Errors: GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_event_record(gpubuf_event *event,
                                  gpubuf_stream *stream);

/**
 * GPUBUF_OK if the latest record was reached, or there is none; GPUBUF_BUSY if not. Never waits.
 *
 * That a copy before it failed is told by the copy's object, not by events.
 * Errors: GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_event_query(gpubuf_event *event);

/**
 * Waits for the latest record.
 *
 * Threads: any; not in a function that runs on a stream.
 * Errors: GPUBUF_TIMEOUT, GPUBUF_BUSY (try form), GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_event_wait(gpubuf_event *event, uint64_t timeout_ns);

/**
 * Ends the handle. Waits queued for its records stay.
 *
 * NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API gpubuf_status gpubuf_event_destroy(gpubuf_event *event);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_buffer_options_init(gpubuf_buffer_options *options,
                                uint32_t struct_size);

/**
 * A new buffer.
 *
 * Ownership: the caller's, until gpubuf_buffer_destroy. Borrowed memory stays the caller's, who neither frees it nor touches
 * it outside begin and end, until release was called or gpubuf_buffer_detach succeeded.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_EXISTS (the memory is borrowed already), GPUBUF_UNSUPPORTED,
 * GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_create(gpubuf_device *device,
                                   const gpubuf_buffer_options *options,
                                   gpubuf_buffer **out_buffer);

/**
 * Ends the handle. Its memory is freed, or the borrowed memory's release called, when its last use is proven, by
 * gpubuf_device_maintain or a later create; by gpubuf_device_drain only where a guard was open (it is void, but its pointer
 * may still be in use) or an address was given out with no stream named. Borrowed memory that a CUDA driver has page-locked
 * comes back later still: release is called on a thread of the library, once the driver has let it go.
 *
 * NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_buffer_destroy(gpubuf_buffer *buffer);

/** What the buffer is. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_info_get(const gpubuf_buffer *buffer,
                                     gpubuf_buffer_info *inout_info);

/**
 * The host side's address, the same until the buffer is resized beyond its capacity. It gives no access: read and write between begin and end only.
 *
 * Errors: GPUBUF_UNSUPPORTED (no host side), GPUBUF_NOT_HELD (detached), GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_host_ptr(const gpubuf_buffer *buffer,
                                     const void **out_pointer);

/**
 * The host side's address for code that brings its own fences: nothing protects it from queued work. Counted, and the
 * buffer is called unchecked from then on.
 *
 * Errors: as gpubuf_buffer_host_ptr.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_host_ptr_unfenced(gpubuf_buffer *buffer,
                                              void **out_pointer);

/**
 * The address for kernels, the same until the buffer is resized beyond its capacity: the device side's, or a uva host side's.
 *
 * Stream order: the streams named, up to 8, may use it at any time from now on; the library fences them when other work
 * needs it. With none named nobody but the caller knows who uses it: the side is sealed, so that copies (and CPU access, where
 * kernels use the host side in place) answer GPUBUF_UNFENCED until gpubuf_buffer_used_on says where it was used; and its
 * memory is freed by gpubuf_device_drain only. Streams that are named, and do not capture, wait on the device for writes of these
 * bytes that are in flight.
 * Errors: GPUBUF_UNSUPPORTED (no side that kernels can address), GPUBUF_BUSY (a write guard is open), GPUBUF_WRONG_DEVICE,
 * GPUBUF_NOT_HELD (detached), GPUBUF_INVALID_ARGUMENT.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_device_address(gpubuf_buffer *buffer,
                                           gpubuf_stream *const *streams,
                                           size_t stream_count,
                                           uint64_t *out_address);

/**
 * Has work that is queued on the stream from now on see what the host wrote, and gives the address for it. The library fences the
 * stream when other work needs it, as if it were named with gpubuf_buffer_device_address.
 *
 * Where kernels use the host side in place, nothing is copied; where there is a device side, what is newer on the host side is.
 * So the same program is right in both cases, also on a device that does not see later host writes to uva memory
 * (gpubuf_device_probe): there a uva buffer is a pinned and a device side (gpubuf_buffer_info, stands_in), its device address is
 * refused with GPUBUF_CONFLICT while the device side lacks something, and so is reading it while a stream that the address was given
 * for has no use declared since (gpubuf_buffer_used_on), and until gpubuf_buffer_sync has brought back what kernels wrote.
 * Stream order: as gpubuf_buffer_to_device; and the stream waits, on the device, for writes of these bytes that are in flight.
 * Errors: as gpubuf_buffer_to_device and gpubuf_buffer_device_address; GPUBUF_CONFLICT (bytes that are newer on both sides, and the
 * device's are not known to be the older ones: nothing is copied).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_publish(gpubuf_buffer *buffer,
                                    gpubuf_stream *stream,
                                    uint64_t *out_address);

/**
 * Says that work queued on the stream so far used the buffer: GPUBUF_ACCESS_READ or GPUBUF_ACCESS_WRITE. What was written is
 * newer on the device side from now on. Of a view: the work used the view's elements alone; an address that was given out for
 * more than those stays undeclared.
 *
 * Stream order: one fence is recorded. CPU accesses and copies that conflict wait for it from now on. A side that was sealed
 * by an address with no stream named is open again.
 * Errors: GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_BUSY, GPUBUF_EXHAUSTED, GPUBUF_DEVICE_LOST; GPUBUF_QUARANTINED if
 * the fence could not be recorded.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_used_on(gpubuf_buffer *buffer,
                                    gpubuf_stream *stream,
                                    uint32_t access);

/**
 * Opens a range of the host side for the CPU to write, once queued work neither reads nor writes it.
 *
 * `out_data` gets the first element's address, valid until gpubuf_buffer_end_write with the token. `count` may be GPUBUF_ALL. Of
 * a view with gaps between its rows: whole rows, as far apart as strides[0] of its info says.
 * Threads: the guard belongs to its token, not to a thread. Work queued meanwhile on the range is refused.
 * Errors: GPUBUF_BUSY (a guard is open on the range, or the try form would have to wait), GPUBUF_TIMEOUT (the copy is still
 * in flight), GPUBUF_UNFENCED (uva: unseen work may use it), GPUBUF_WOULD_DEADLOCK, GPUBUF_COPY_FAILED (an earlier copy,
 * told once), GPUBUF_NOT_HELD, GPUBUF_DEVICE_LOST, GPUBUF_QUARANTINED.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_begin_write(gpubuf_buffer *buffer,
                                        uint64_t first,
                                        uint64_t count,
                                        uint64_t timeout_ns,
                                        void **out_data,
                                        uint64_t *out_token);

/**
 * Ends a write access. Its range is newer on the host side from now on.
 *
 * Errors: GPUBUF_NOT_BEGUN (not the token of an open write access).
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_buffer_end_write(gpubuf_buffer *buffer, uint64_t token);

/**
 * Opens a range of the host side for the CPU to read, once queued work no longer writes it. Reads may overlap.
 *
 * As gpubuf_buffer_begin_write otherwise.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_begin_read(gpubuf_buffer *buffer,
                                       uint64_t first,
                                       uint64_t count,
                                       uint64_t timeout_ns,
                                       const void **out_data,
                                       uint64_t *out_token);

/**
 * Ends a read access.
 *
 * Errors: GPUBUF_NOT_BEGUN (not the token of an open read access).
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_buffer_end_read(gpubuf_buffer *buffer, uint64_t token);

/**
 * Copies elements from `source` to the host side, as one write access. In `source` there are no gaps between rows, whatever the
 * buffer has.
 *
 * Errors: as gpubuf_buffer_begin_write; GPUBUF_INVALID_ARGUMENT also where `source` overlaps those elements.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_copy_in(gpubuf_buffer *buffer,
                                    uint64_t first,
                                    uint64_t count,
                                    const void *source,
                                    uint64_t timeout_ns);

/**
 * Copies elements of the host side to `destination`, as one read access. There they have no gaps between rows.
 *
 * Errors: as gpubuf_buffer_begin_write; GPUBUF_INVALID_ARGUMENT also where `destination` overlaps those elements.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_copy_out(gpubuf_buffer *buffer,
                                     uint64_t first,
                                     uint64_t count,
                                     void *destination,
                                     uint64_t timeout_ns);

/**
 * Queues a copy of elements from the host side to the device side: one copy, also of a window. The host side wins: whatever was
 * newer there on either side counts as the same, until the copy is known to have failed.
 *
 * Stream order: behind everything queued on the stream, and, on the device, behind what other streams do to the two ranges
 * as far as the library knows it. The host does not wait. Writing the range again waits for the copy.
 * Errors: GPUBUF_BUSY (a write guard is open on the range), GPUBUF_UNFENCED, GPUBUF_UNSUPPORTED (one side only),
 * GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED (an earlier copy, told once), GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_to_device(gpubuf_buffer *buffer,
                                      uint64_t first,
                                      uint64_t count,
                                      gpubuf_stream *stream);

/**
 * As gpubuf_buffer_to_device, and returns when the bytes have landed.
 *
 * Errors: also GPUBUF_TIMEOUT and GPUBUF_BUSY (the copy stays queued, with its uses), GPUBUF_WOULD_DEADLOCK,
 * GPUBUF_COPY_FAILED (this copy).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_to_device_blocking(gpubuf_buffer *buffer,
                                               uint64_t first,
                                               uint64_t count,
                                               gpubuf_stream *stream,
                                               uint64_t timeout_ns);

/**
 * Queues a copy of elements from the device side to the host side. The device side wins, as above.
 *
 * Stream order: as gpubuf_buffer_to_device. Reading the range waits for the copy.
 * Errors: as gpubuf_buffer_to_device; GPUBUF_BUSY also where a read guard is open on the range.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_to_host(gpubuf_buffer *buffer,
                                    uint64_t first,
                                    uint64_t count,
                                    gpubuf_stream *stream);

/**
 * As gpubuf_buffer_to_host, and returns when the bytes have landed.
 *
 * Errors: as gpubuf_buffer_to_device_blocking.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_to_host_blocking(gpubuf_buffer *buffer,
                                             uint64_t first,
                                             uint64_t count,
                                             gpubuf_stream *stream,
                                             uint64_t timeout_ns);

/**
 * Fills whole sides (GPUBUF_SIDE_) with one element; of a view with gaps, row by row. One side that was filled is newer than
 * the other; both are the same.
 *
 * `stream` is needed for the device side, which is filled in its order, and may be NULL for the host side; `timeout_ns` is
 * for the host side, a write access. What is refused leaves both as they were.
 * Errors: those of gpubuf_buffer_begin_write and gpubuf_buffer_to_device.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_fill(gpubuf_buffer *buffer,
                                 uint32_t sides,
                                 const void *element,
                                 gpubuf_stream *stream,
                                 uint64_t timeout_ns);

/** Fills whole sides (GPUBUF_SIDE_) with zeroes; otherwise as gpubuf_buffer_fill. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_zero(gpubuf_buffer *buffer,
                                 uint32_t sides,
                                 gpubuf_stream *stream,
                                 uint64_t timeout_ns);

/**
 * Gives borrowed memory back to the caller once its uses are proven. release is not called.
 *
 * With CUDA the driver lets page-locked memory go when the whole device is idle. A call that cannot wait for that long leaves the
 * buffer empty: call it again, until it is GPUBUF_OK; or destroy the buffer, and release is called after all.
 *
 * The buffer then answers GPUBUF_NOT_HELD, and only waits to be destroyed.
 * Errors: GPUBUF_UNSUPPORTED (nothing is borrowed), GPUBUF_BUSY (a guard is open, or the try form would have to wait),
 * GPUBUF_GRAPH_HELD (a graph hold has it), GPUBUF_CAPTURING (a stream that would have to be waited for captures),
 * GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST, GPUBUF_QUARANTINED.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_detach(gpubuf_buffer *buffer,
                                   uint64_t timeout_ns);

/**
 * Rows `first` to `first + count` of the outermost dimension, as a buffer over the same memory: a view. `count` may be
 * GPUBUF_ALL.
 *
 * A view is used like any buffer, and its fences, guards and dirty ranges are those of its buffer: what touches other elements does
 * not disturb it. What its buffer can do as a whole it cannot: resize, reset, detach.
 * Ownership: the caller's, until gpubuf_buffer_destroy; before or after its buffer's. The memory stays as long as either does.
 * Threads: a buffer and all its views are one object: one thread at a time.
 * Errors: GPUBUF_INVALID_ARGUMENT (no row, or rows outside), GPUBUF_BUSY (another thread is inside), GPUBUF_NOT_HELD.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_slice(gpubuf_buffer *buffer,
                                  uint64_t first,
                                  uint64_t count,
                                  gpubuf_buffer **out_view);

/**
 * A window of the buffer, seen as a matrix in which a row is one of the outermost dimension: a view of two dimensions,
 * row_count x column_count elements. Counts may be GPUBUF_ALL.
 *
 * A copy of a window is one two-dimensional copy. Between its rows are gaps, unless it has all columns, or one row: then
 * ranges of elements must be whole rows. Windows of one buffer that have no element in common do not wait for each other.
 * Otherwise as gpubuf_buffer_slice.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_window(gpubuf_buffer *buffer,
                                   uint64_t first_row,
                                   uint64_t row_count,
                                   uint64_t first_column,
                                   uint64_t column_count,
                                   gpubuf_buffer **out_view);

/**
 * Gives the buffer another shape of `rank` dimensions.
 *
 * Up to its capacity addresses and contents stay, also while a graph holds it, and the last two parameters are not used. Beyond,
 * it gets other memory, zeroed, of just that size: addresses have to be asked for again. `keep` (GPUBUF_SIDE_, or 0) names
 * the sides whose leading bytes are kept: the device's by a copy in the order of `stream`, the host's after work that still
 * writes them. The old memory is freed when its last use is over. What is refused or fails has changed nothing.
 * What lies beyond the old elements is not promised to be zero where the memory stays.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_BUSY (a guard is open; views are alive, unless just rows are added
 * within the capacity; or the try form would have to wait), GPUBUF_TIMEOUT, GPUBUF_UNSUPPORTED (a view); and, beyond the
 * capacity, GPUBUF_UNSUPPORTED (borrowed memory), GPUBUF_GRAPH_HELD, GPUBUF_UNFENCED (a side is kept whose address is with
 * undeclared work), GPUBUF_CAPTURING, GPUBUF_WRONG_DEVICE, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY,
 * GPUBUF_COPY_FAILED (an earlier copy, told once).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_resize(gpubuf_buffer *buffer,
                                   uint32_t rank,
                                   const uint64_t *shape,
                                   uint32_t keep,
                                   gpubuf_stream *stream,
                                   uint64_t timeout_ns);

/**
 * As if the buffer was new: zeroes on each side that it has, no side newer, and its figures begin anew. Memory, shape,
 * addresses and views stay.
 *
 * `stream` is needed where there is a device side, which is zeroed in its order; the host side is a write access. What is
 * refused has changed nothing.
 * Errors: as gpubuf_buffer_fill; GPUBUF_UNSUPPORTED also of a view.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_reset(gpubuf_buffer *buffer,
                                  gpubuf_stream *stream,
                                  uint64_t timeout_ns);

/**
 * Queues what makes both sides the same: what is newer on one side, in ranges, is copied to the other, all of it with one fence.
 * Where nothing is newer, or there is one side only, nothing is done.
 *
 * A side is newer where it was written by something else than a copy from the other side: a write access, copy_in, a fill of one
 * side, work that used_on declared as a write, a launch or a replay (the whole device side), or gpubuf_buffer_mark_dirty. A
 * side remembers up to 8 ranges or windows; above, neighbours are taken together with what lies between them, which copies more,
 * never less. A copy that failed when it ran is sent again.
 * `policy` (GPUBUF_SYNC_) says who wins where both sides are newer. Bytes that were merely taken together with others are
 * nobody's to win, and neither are, for GPUBUF_SYNC_NEWEST_WINS, bytes that were written in turns.
 * Stream order: as gpubuf_buffer_to_device and gpubuf_buffer_to_host. Of a view: its elements alone.
 * Errors: GPUBUF_CONFLICT (both sides are newer, and the policy does not decide), GPUBUF_BUSY (a write guard is open on its
 * elements, or a read guard on what would be overwritten), and those of gpubuf_buffer_to_device. Nothing is done then.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_sync(gpubuf_buffer *buffer,
                                 uint32_t policy,
                                 gpubuf_stream *stream);

/**
 * As gpubuf_buffer_sync, and returns when the bytes have landed.
 *
 * Errors: also GPUBUF_TIMEOUT and GPUBUF_BUSY (the copies stay queued, with their uses), GPUBUF_WOULD_DEADLOCK,
 * GPUBUF_COPY_FAILED (of these copies: their sources are newer again).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_sync_blocking(gpubuf_buffer *buffer,
                                          uint32_t policy,
                                          gpubuf_stream *stream,
                                          uint64_t timeout_ns);

/**
 * Says that elements of a side (GPUBUF_SIDE_HOST or GPUBUF_SIDE_DEVICE) were written in a way that the library does not see.
 * `count` may be GPUBUF_ALL. Nothing is remembered where there is no other side.
 *
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_UNSUPPORTED (no such side), GPUBUF_BUSY (another thread is inside),
 * GPUBUF_COPY_FAILED (an earlier copy, told once; nothing is marked).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_mark_dirty(gpubuf_buffer *buffer,
                                       uint32_t side,
                                       uint64_t first,
                                       uint64_t count);

/**
 * Says that elements of a side have nothing that the other side lacks: the caller made them the same, or does not need them.
 *
 * Errors: as gpubuf_buffer_mark_dirty.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_mark_clean(gpubuf_buffer *buffer,
                                       uint32_t side,
                                       uint64_t first,
                                       uint64_t count);

/**
 * The elements that are newer on a side (GPUBUF_SIDE_HOST or GPUBUF_SIDE_DEVICE), in no order. Up to `capacity` are written, and
 * `out_count` gets how many there are. Asks the device, without waiting, whether copies under way have failed.
 *
 * `out_ranges` may be NULL where capacity is 0.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_UNSUPPORTED (no such side), GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_dirty_ranges(const gpubuf_buffer *buffer,
                                         uint32_t side,
                                         gpubuf_dirty_range *out_ranges,
                                         size_t capacity,
                                         size_t *out_count);

/**
 * The figures of a buffer and all its views. Set struct_size first; no more than that is written, and struct_size then says how
 * much. Waits for nothing.
 *
 * Errors: GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_stats_get(const gpubuf_buffer *buffer,
                                      gpubuf_buffer_stats *inout_stats);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_pool_options_init(gpubuf_pool_options *options,
                              uint32_t struct_size);

/**
 * A new pool, with its first blocks allocated.
 *
 * It never grows or shrinks by itself: gpubuf_pool_maintain does, or gpubuf_device_maintain, or the device's upkeep thread.
 * Ownership: the caller's, until gpubuf_pool_destroy.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_UNSUPPORTED, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY,
 * GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pool_create(gpubuf_device *device,
                                 const gpubuf_pool_options *options,
                                 gpubuf_pool **out_pool);

/**
 * Ends the handle. Threads that wait for a block get GPUBUF_SHUT_DOWN. Blocks still held are used and released as before.
 *
 * Each block's memory is freed when it is released and its last use is proven. NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_pool_destroy(gpubuf_pool *pool);

/**
 * Takes a block whose every earlier use is over; waits for a release, or for a use, up to the deadline.
 *
 * Waiters are served by `priority`, the higher first, then by arrival; a released block goes straight to the first of them.
 * Who was passed over too often comes before all others (`patience`).
 * Ownership: the block is the caller's until a release succeeds. Its bytes are those of its last use.
 * Threads: any; not in a function that runs on a stream. Allocates nothing once the pool is in use, but for a block that
 * gpubuf_pool_trim or gpubuf_pool_clear has let go.
 * Errors: GPUBUF_BUSY (try form), GPUBUF_TIMEOUT, GPUBUF_EXHAUSTED (every block is quarantined), GPUBUF_SHUT_DOWN (the pool
 * was destroyed meanwhile), GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pool_acquire(gpubuf_pool *pool,
                                  int32_t priority,
                                  uint64_t timeout_ns,
                                  gpubuf_block **out_block);

/** The pool's figures. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pool_stats_get(const gpubuf_pool *pool,
                                    gpubuf_pool_stats *inout_stats);

/**
 * What the pool knows of its block `index` (gpubuf_block_info has the index), held or free. Set struct_size first; no more than
 * that is written, and struct_size then says how much.
 *
 * Indices run from 0; those of blocks that are gone are used again.
 * Errors: GPUBUF_NOT_FOUND (no such block, or it is quarantined).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pool_block_get(const gpubuf_pool *pool,
                                    uint32_t index,
                                    gpubuf_pool_block *inout_block);

/**
 * Looks at what happened since the last look, and grows or shrinks the pool as its options say: the way to change its size
 * that nobody waits for. Blocks that quarantine has taken are replaced up to the first size, too.
 *
 * The pool grows where an acquire found no block that was free and done with, up to max_blocks; it shrinks where few blocks
 * were held, never below its first size. Both outputs may be NULL. Growing allocates and may call the driver; what cannot be
 * had is counted and logged. Threads: any.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pool_maintain(gpubuf_pool *pool,
                                   uint32_t *out_made,
                                   uint32_t *out_gone);

/**
 * Lets free blocks go, those that were free for longest first, until `keep` blocks are left in all, or none is free.
 *
 * Their memory is freed when its last use is over. What goes below the pool's first size is made again by the acquires that
 * want it. `out_gone`, how many went, may be NULL. Never waits.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pool_trim(gpubuf_pool *pool,
                               uint32_t keep,
                               uint32_t *out_gone);

/**
 * Lets every block go, as gpubuf_pool_trim does; refused while one is held.
 *
 * Errors: GPUBUF_BUSY (blocks are held: the message says how many; none has gone. Release them first, or trim the pool).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pool_clear(gpubuf_pool *pool);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_block_options_init(gpubuf_block_options *options,
                               uint32_t struct_size);

/**
 * A block that belongs to no pool, zeroed: used like any other, and gone when it is released.
 *
 * Ownership: the caller's, until a release succeeds. Its memory is freed when its last use is over.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_UNSUPPORTED, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY,
 * GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_create(gpubuf_device *device,
                                  const gpubuf_block_options *options,
                                  gpubuf_block **out_block);

/**
 * Says that work queued on the streams so far, 1 to 8, used the block, which the caller keeps. Lifts the seal.
 *
 * Stream order: one fence is recorded on each.
 * Errors: GPUBUF_INVALID_ARGUMENT (no stream), GPUBUF_BUSY (a guard is open), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING,
 * GPUBUF_NOT_HELD; GPUBUF_QUARANTINED if a fence could not be recorded.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_fence(gpubuf_block *block,
                                 gpubuf_stream *const *streams,
                                 size_t stream_count);

/** The caller vouches that nothing uses the block by its device address. Lifts the seal; counted. */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_block_declare_unread(gpubuf_block *block);

/** What the block is. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_info_get(const gpubuf_block *block,
                                    gpubuf_block_info *inout_info);

/**
 * The block's host address, the same for the pool's life. It gives no access: read and write between begin and end only.
 *
 * Errors: GPUBUF_NOT_HELD, GPUBUF_BUSY (another thread is inside), GPUBUF_QUARANTINED.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_host_ptr(const gpubuf_block *block,
                                    const void **out_pointer);

/**
 * The address for kernels: the twin's, or that of a uva block itself. It stays the same for as long as the pool has the block, but
 * for a promotion: that, and its end (gpubuf_block_demote, or any release), change it. Seals the block.
 *
 * Until a fence is declared (gpubuf_block_release_after, gpubuf_block_fence) or gpubuf_block_declare_unread vouches for it, a
 * sealed block is not released plainly, promoted or demoted; its device side is neither copied to nor from; and where kernels use
 * it in place, the CPU neither reads nor writes it. The host side of a block with a twin stays the CPU's: gpubuf_block_copy_in,
 * gpubuf_block_copy_out and guards go on.
 * Errors: GPUBUF_UNSUPPORTED (a pinned block without a twin), GPUBUF_BUSY (a write guard is open), GPUBUF_NOT_HELD;
 * GPUBUF_OUT_OF_DEVICE_MEMORY (a twin on first need); GPUBUF_CONFLICT (a block that stands in, whose twin lacks something:
 * gpubuf_block_publish).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_device_address(gpubuf_block *block,
                                          uint64_t *out_address);

/**
 * Opens bytes of the block for the CPU to write; `bytes` may be GPUBUF_ALL. Otherwise as gpubuf_buffer_begin_write.
 *
 * Errors: also GPUBUF_NOT_HELD.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_begin_write(gpubuf_block *block,
                                       uint64_t offset,
                                       uint64_t bytes,
                                       uint64_t timeout_ns,
                                       void **out_data,
                                       uint64_t *out_token);

/**
 * Ends a write access.
 *
 * Errors: GPUBUF_NOT_BEGUN (not the token of an open write access).
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_block_end_write(gpubuf_block *block, uint64_t token);

/**
 * Opens bytes of the block for the CPU to read; `bytes` may be GPUBUF_ALL. Otherwise as gpubuf_buffer_begin_read.
 *
 * Errors: also GPUBUF_NOT_HELD.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_begin_read(gpubuf_block *block,
                                      uint64_t offset,
                                      uint64_t bytes,
                                      uint64_t timeout_ns,
                                      const void **out_data,
                                      uint64_t *out_token);

/**
 * Ends a read access.
 *
 * Errors: GPUBUF_NOT_BEGUN (not the token of an open read access).
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_block_end_read(gpubuf_block *block, uint64_t token);

/**
 * Copies bytes from `source` to the block, as one write access.
 *
 * Errors: as gpubuf_block_begin_write; GPUBUF_INVALID_ARGUMENT also where `source` overlaps those bytes.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_copy_in(gpubuf_block *block,
                                   uint64_t offset,
                                   uint64_t bytes,
                                   const void *source,
                                   uint64_t timeout_ns);

/**
 * Copies bytes of the block to `destination`, as one read access.
 *
 * Errors: as gpubuf_block_begin_read; GPUBUF_INVALID_ARGUMENT also where `destination` overlaps those bytes.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_copy_out(gpubuf_block *block,
                                    uint64_t offset,
                                    uint64_t bytes,
                                    void *destination,
                                    uint64_t timeout_ns);

/**
 * Queues a copy of bytes to the block's twin. Otherwise as gpubuf_buffer_to_device.
 *
 * Errors: also GPUBUF_NOT_HELD, GPUBUF_UNSUPPORTED (no twin).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_to_device(gpubuf_block *block,
                                     uint64_t offset,
                                     uint64_t bytes,
                                     gpubuf_stream *stream);

/**
 * Queues a copy of bytes from the block's twin. Otherwise as gpubuf_buffer_to_host.
 *
 * Errors: also GPUBUF_NOT_HELD, GPUBUF_UNSUPPORTED (no twin, or one on first need that is not there yet: nothing is to be brought
 * back).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_to_host(gpubuf_block *block,
                                   uint64_t offset,
                                   uint64_t bytes,
                                   gpubuf_stream *stream);

/**
 * As gpubuf_block_to_device, and returns when the bytes have landed.
 *
 * Errors: as gpubuf_buffer_to_device_blocking; also GPUBUF_NOT_HELD.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_to_device_blocking(gpubuf_block *block,
                                              uint64_t offset,
                                              uint64_t bytes,
                                              gpubuf_stream *stream,
                                              uint64_t timeout_ns);

/**
 * As gpubuf_block_to_host, and returns when the bytes have landed.
 *
 * Errors: as gpubuf_buffer_to_host_blocking; also GPUBUF_NOT_HELD.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_to_host_blocking(gpubuf_block *block,
                                            uint64_t offset,
                                            uint64_t bytes,
                                            gpubuf_stream *stream,
                                            uint64_t timeout_ns);

/**
 * Makes both sides the same: as gpubuf_buffer_sync, of the whole block, whose own policy is GPUBUF_SYNC_REFUSE. Nothing is done
 * where there is one side only.
 *
 * Errors: also GPUBUF_NOT_HELD.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_sync(gpubuf_block *block,
                                uint32_t policy,
                                gpubuf_stream *stream);

/**
 * As gpubuf_block_sync, and returns when the bytes have landed.
 *
 * Errors: as gpubuf_buffer_sync_blocking; also GPUBUF_NOT_HELD.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_sync_blocking(gpubuf_block *block,
                                         uint32_t policy,
                                         gpubuf_stream *stream,
                                         uint64_t timeout_ns);

/**
 * Has work that is queued on the stream from now on see what the host wrote, and gives the address for it. Seals the block, as
 * gpubuf_block_device_address does.
 *
 * Where kernels use the block in place, nothing is copied; where it has a twin, what is newer on the host side is. So the same
 * program is right in both cases, also on a device that does not see later host writes to uva memory (gpubuf_block_info,
 * stands_in): there gpubuf_block_device_address is refused while the twin lacks something, and reading until
 * gpubuf_block_sync has brought back what kernels wrote.
 * Stream order: as gpubuf_block_to_device; and the stream waits, on the device, for writes of the block that are in flight.
 * Errors: as gpubuf_block_to_device and gpubuf_block_device_address; GPUBUF_CONFLICT (bytes that are newer on both sides, and the
 * device's are not known to be the older ones: nothing is copied).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_publish(gpubuf_block *block,
                                   gpubuf_stream *stream,
                                   uint64_t *out_address);

/**
 * Zeroes both sides, has nothing newer on either, and begins the figures anew: the host side as a write access, the device side in
 * the stream's order. `stream` may be NULL where there is no twin.
 *
 * Errors: as gpubuf_buffer_fill; also GPUBUF_NOT_HELD.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_reset(gpubuf_block *block,
                                 gpubuf_stream *stream,
                                 uint64_t timeout_ns);

/**
 * What moved between the block's sides. Set struct_size first; no more than that is written, and struct_size then says how much.
 *
 * Means: to_device_ns / to_device_timed is the time of a copy. Asks for the times of copies that have ended; waits for none.
 * Errors: GPUBUF_NOT_HELD, GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_stats_get(const gpubuf_block *block,
                                     gpubuf_block_stats *inout_stats);

/**
 * Moves a block that kernels use in place to device memory, for this lease: a copy of its bytes is queued on the stream, and its
 * device address is another one from now on, until it is demoted or released. Allocates.
 *
 * Stream order: as gpubuf_block_to_device. The CPU goes on using the block's host memory, which copies and
 * gpubuf_block_demote bring in step with the device's.
 * Errors: GPUBUF_UNSUPPORTED (it has device memory already, or is not used in place), GPUBUF_UNFENCED (its address is with work
 * that was not declared), GPUBUF_GRAPH_HELD, GPUBUF_BUSY (a guard is open), GPUBUF_NOT_HELD, GPUBUF_OUT_OF_DEVICE_MEMORY: the
 * block is as before.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_promote(gpubuf_block *block,
                                   gpubuf_stream *stream);

/**
 * Takes a promotion back: a copy of the device's bytes to the block is queued on the stream, kernels use it in place again, and
 * the device memory is freed when its last use is over.
 *
 * Errors: GPUBUF_UNSUPPORTED (it is not promoted); otherwise as gpubuf_block_promote.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_demote(gpubuf_block *block,
                                  gpubuf_stream *stream);

/**
 * Gives a block back with the uses that the library knows of: its own copies, and what was declared.
 *
 * The block's handle ends with it. Never waits: the next holder does.
 * Errors: GPUBUF_UNFENCED (its device address was given out and no fence declared since: gpubuf_block_release_after, or gpubuf_block_abandon where nobody will),
 * GPUBUF_GRAPH_HELD (a graph hold has it: destroy that first), GPUBUF_BUSY (a guard is open); the block stays the caller's.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_release(gpubuf_block *block);

/**
 * Gives up a block whose users nobody will declare, where gpubuf_block_release is refused with GPUBUF_UNFENCED: its handle ends.
 *
 * Its memory is kept until a gpubuf_device_drain that begins later has ended, and counts as deferred until then (a manager's
 * budget has it back then), and in sealed_at_destroy. A pool makes another block for the acquire that wants one. A block without
 * such users is released, as gpubuf_block_release does.
 * Errors: GPUBUF_GRAPH_HELD, GPUBUF_BUSY (a guard is open), GPUBUF_NOT_HELD; the block stays the caller's.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_abandon(gpubuf_block *block);

/**
 * Gives a block back; work queued so far on these streams, 1 to 8, used it.
 *
 * Stream order: one fence is recorded on each. The next holder waits for them. The block's handle ends with it.
 * Errors: GPUBUF_INVALID_ARGUMENT (no stream), GPUBUF_BUSY (a guard is open), GPUBUF_GRAPH_HELD, GPUBUF_WRONG_DEVICE,
 * GPUBUF_CAPTURING: the block stays the caller's. If a fence cannot be recorded, the block is quarantined and its handle ends all the same.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_release_after(gpubuf_block *block,
                                         gpubuf_stream *const *streams,
                                         size_t stream_count);

/**
 * As gpubuf_block_release_after for up to 64 blocks of one device, with one fence per stream for all of them.
 *
 * Refusals release none. No block is a valid list.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_release_after_many(gpubuf_block *const *blocks,
                                              size_t block_count,
                                              gpubuf_stream *const *streams,
                                              size_t stream_count);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_pinned_options_init(gpubuf_pinned_options *options,
                                uint32_t struct_size);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_pinned_request_init(gpubuf_pinned_request *request,
                                uint32_t struct_size);

/**
 * A manager of page-locked memory: it gives out blocks of any size under one budget, and locks nothing before the first.
 *
 * Ownership: the caller's, until gpubuf_pinned_destroy. The callbacks and their user data stay valid until the last block and
 * reservation of the manager are gone, too.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pinned_create(gpubuf_device *device,
                                   const gpubuf_pinned_options *options,
                                   gpubuf_pinned **out_pinned);

/**
 * Ends the handle. Idle slabs are freed, the others with their last block; blocks are used and given back as before. Threads
 * that wait for memory get GPUBUF_SHUT_DOWN.
 *
 * NULL is GPUBUF_OK. Never waits. Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_pinned_destroy(gpubuf_pinned *pinned);

/**
 * A block of this size, used like any other. Its bytes are those of its last use, or zeroes.
 *
 * Whether the budget has room is a matter of requested bytes alone: what is cached makes way. A request that comes while others
 * of its priority or a higher one wait does not overtake them. Small blocks come from slabs without a call of the driver, as
 * long as these have room; page-locking a new slab takes milliseconds, and nobody else waits for it.
 * Ownership: the block is the caller's until gpubuf_pinned_free or a gpubuf_block_release succeeds.
 * Threads: any; GPUBUF_OVER_BUDGET_WAIT not in a function that runs on a stream.
 * Errors: GPUBUF_BUDGET (the message says who has it), GPUBUF_OUT_OF_HOST_MEMORY or GPUBUF_DRIVER_ERROR (the driver locks no
 * more), GPUBUF_TIMEOUT, GPUBUF_BUSY (a wait with GPUBUF_TIMEOUT_TRY), GPUBUF_WOULD_DEADLOCK, GPUBUF_SHUT_DOWN (the manager was
 * destroyed meanwhile), GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_OUT_OF_DEVICE_MEMORY (the twin), GPUBUF_UNSUPPORTED (uva
 * memory, and a probe has seen that the device does not see later host writes), GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pinned_allocate(gpubuf_pinned *pinned,
                                     const gpubuf_pinned_request *request,
                                     gpubuf_block **out_block);

/**
 * Gives a block of this manager back with the uses that the library knows of; it is given out again when they are over.
 *
 * As gpubuf_block_release, for callers that want to be sure where a block goes; work that the library does not see is declared
 * with gpubuf_block_release_after instead. The block's handle ends with it. Never waits.
 * Errors: GPUBUF_INVALID_ARGUMENT (another manager's block, or a pool's), GPUBUF_UNFENCED, GPUBUF_GRAPH_HELD, GPUBUF_BUSY (a guard
 * is open): nothing has changed.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pinned_free(gpubuf_pinned *pinned,
                                 gpubuf_block *block);

/**
 * Holds bytes of the budget for blocks to come, by gpubuf_reservation_commit. Nothing is page-locked for it.
 *
 * As gpubuf_pinned_allocate otherwise; the owner is that of blocks that name none.
 * Ownership: the caller's, until gpubuf_reservation_destroy gives back what is left.
 * Errors: GPUBUF_BUDGET, GPUBUF_TIMEOUT, GPUBUF_BUSY, GPUBUF_WOULD_DEADLOCK, GPUBUF_SHUT_DOWN, GPUBUF_INVALID_ARGUMENT
 * (GPUBUF_OVER_BUDGET_PAGEABLE, too: such memory is outside the budget; and device_side, which is for the commit),
 * GPUBUF_UNSUPPORTED (as gpubuf_pinned_allocate), GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pinned_reserve(gpubuf_pinned *pinned,
                                    const gpubuf_pinned_request *request,
                                    gpubuf_reservation **out_reservation);

/** Gives idle slabs back to the driver until at most `keep_bytes` page-locked bytes of them are left. `out_freed_bytes` may be NULL. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pinned_trim(gpubuf_pinned *pinned,
                                 uint64_t keep_bytes,
                                 uint64_t *out_freed_bytes);

/**
 * Gives all memory back to the driver. Refused while there are blocks or reservations: the message says how many.
 *
 * Errors: GPUBUF_BUSY, GPUBUF_SHUT_DOWN.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pinned_clear(gpubuf_pinned *pinned);

/**
 * Changes the budget, or has it chosen anew (GPUBUF_BUDGET_AUTO). Those who wait are served from what is added; what is cached
 * makes way for a smaller one.
 *
 * Errors: GPUBUF_BUDGET (more is live, quarantined and reserved), GPUBUF_INVALID_ARGUMENT, GPUBUF_SHUT_DOWN.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pinned_set_budget(gpubuf_pinned *pinned,
                                       uint64_t budget_bytes);

/** The manager's figures. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pinned_stats_get(const gpubuf_pinned *pinned,
                                      gpubuf_pinned_stats *inout_stats);

/**
 * Who has how much, by name: as many as fit into `capacity` entries, and how many there are. `shares` may be NULL where
 * capacity is 0.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pinned_shares_get(const gpubuf_pinned *pinned,
                                       gpubuf_pinned_share *shares,
                                       size_t capacity,
                                       size_t *out_count);

/**
 * A block of what is reserved; what is left of the reservation holds budget for others, or until it is destroyed.
 *
 * The request's bytes come out of the reservation; timeout_ns and priority do not matter, nor does its owner where it is NULL.
 * There is no wait in it: where the driver can page-lock nothing, GPUBUF_OVER_BUDGET_WAIT is refused like GPUBUF_OVER_BUDGET_FAIL.
 * Ownership: the block is the caller's, and outlives the reservation.
 * Errors: GPUBUF_INVALID_ARGUMENT (more than is left), GPUBUF_OVERFLOW, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_DRIVER_ERROR, GPUBUF_OUT_OF_DEVICE_MEMORY,
 * GPUBUF_UNSUPPORTED, GPUBUF_SHUT_DOWN (the manager was destroyed), GPUBUF_DEVICE_LOST: what is reserved stays so, as it does where pageable
 * memory is given because nothing can be page-locked.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_reservation_commit(gpubuf_reservation *reservation,
                                        const gpubuf_pinned_request *request,
                                        gpubuf_block **out_block);

/** Bytes that are reserved still. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_reservation_left(const gpubuf_reservation *reservation,
                                      uint64_t *out_bytes);

/**
 * Rolls back: what is left of the reservation goes back to the budget. NULL is GPUBUF_OK. Never waits.
 *
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_reservation_destroy(gpubuf_reservation *reservation);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_slots_options_init(gpubuf_slots_options *options,
                               uint32_t struct_size);

/**
 * A new set without slots: add them, then freeze it. NULL options are the defaults.
 *
 * Ownership: the caller's, until gpubuf_slots_destroy.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_create(gpubuf_device *device,
                                  const gpubuf_slots_options *options,
                                  gpubuf_slots **out_slots);

/**
 * Ends the handle, and with it the set's steps, tickets and read-backs, which answer GPUBUF_SHUT_DOWN from then on.
 *
 * The consumers declared with a step that was not retired are fenced. The memory is freed when its last use is proven; by
 * gpubuf_device_drain only where a span or a read-back was open or a step not retired. Device memory in a graph hold stays until that
 * ends. NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_slots_destroy(gpubuf_slots *slots);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_slot_options_init(gpubuf_slot_options *options,
                              uint32_t struct_size);

/**
 * Adds a slot; `out_slot` gets its number, from 0 in the order of adding.
 *
 * Errors: GPUBUF_FROZEN (after freeze), GPUBUF_EXISTS (the name), GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW,
 * GPUBUF_VERSION_MISMATCH.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_add(gpubuf_slots *slots,
                               const gpubuf_slot_options *options,
                               uint32_t *out_slot);

/**
 * Fixes the layout and allocates everything: addresses never change from here on, and steps allocate nothing.
 *
 * Where it fails nothing is frozen, and it may be called again.
 * Errors: GPUBUF_FROZEN (frozen already), GPUBUF_INVALID_ARGUMENT (no slots), GPUBUF_OVERFLOW, GPUBUF_OUT_OF_HOST_MEMORY,
 * GPUBUF_OUT_OF_DEVICE_MEMORY, GPUBUF_BUDGET (of tiers that count the slots), GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_freeze(gpubuf_slots *slots);

/**
 * The number of the slot of that name.
 *
 * Errors: GPUBUF_NOT_FOUND.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_find(const gpubuf_slots *slots,
                                const char *name,
                                uint32_t *out_slot);

/**
 * What a slot is, and where it lies. Set struct_size first; no more than that is written, and struct_size then says how much.
 *
 * Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_NOT_FOUND.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_slot_info(const gpubuf_slots *slots,
                                     uint32_t slot,
                                     gpubuf_slot_info *inout_info);

/** How many slots there are: their numbers are those below. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_slot_count(const gpubuf_slots *slots,
                                      uint32_t *out_count);

/**
 * Writes a slot's name to `buffer`, cut to `capacity` and always ended; `out_length`, which may be NULL, gets its full
 * length.
 *
 * Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_NOT_FOUND.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_slot_name(const gpubuf_slots *slots,
                                     uint32_t slot,
                                     char *buffer,
                                     size_t capacity,
                                     size_t *out_length);

/**
 * A slot's address for kernels in one copy of the device memory, 0 to device_depth - 1: the same for the life of the set, so
 * that a graph may bake it in. A step has copy (ticket - 1) modulo device_depth.
 *
 * Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_NOT_FOUND (no such slot, or copy), GPUBUF_UNSUPPORTED (a dynamic slot:
 * gpubuf_step_address).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_device_address(const gpubuf_slots *slots,
                                          uint32_t slot,
                                          uint32_t copy,
                                          uint64_t *out_address);

/**
 * The number of tokens that a step of `token_count` is padded to: the next size of the set's table, or `token_count` itself
 * above the largest.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_padded_size(const gpubuf_slots *slots,
                                       uint64_t token_count,
                                       uint64_t *out_padded);

/**
 * Gives up every step that is being filled, as gpubuf_step_abort does: their handles end. What is committed stays to be
 * retired. `out_aborted`, which may be NULL, gets their number.
 *
 * Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_BUSY (another thread is inside a step: none was given up).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_abort_all(gpubuf_slots *slots,
                                     uint32_t *out_aborted);

/**
 * Begins a step in an entry that no copy reads any more; waits for the oldest copy up to the deadline.
 *
 * Ownership: the step's handle is the caller's until the step is aborted, retired or destroyed.
 * Threads: any; one at a time uses a step. Allocates nothing.
 * Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_BUSY (every entry is being filled, or the try form would have to wait),
 * GPUBUF_TIMEOUT, GPUBUF_EXHAUSTED, GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST, GPUBUF_NOT_BEGUN (another thread gave up every step
 * at this moment: gpubuf_slots_abort_all).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_begin(gpubuf_slots *slots,
                                 uint64_t timeout_ns,
                                 gpubuf_step **out_step);

/**
 * As gpubuf_slots_begin, for a step that a graph reads: a graph has its addresses baked in, so that no dynamic slot can be
 * bound in the step, and none needs to be.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_begin_replay(gpubuf_slots *slots,
                                        uint64_t timeout_ns,
                                        gpubuf_step **out_step);

/**
 * Ends a committed step: all work that reads it is queued. Only then may a step be committed to its copy of the device
 * memory. Steps may be retired in any order.
 *
 * Stream order: the streams named (up to 8, the declared consumers and the commit stream included) are those that read it.
 * One fence is recorded on each but the commit stream; the next commit to the copy is ordered behind them on the device. The
 * step's handle ends with it.
 * Errors: GPUBUF_NOT_BEGUN (another ticket, or twice), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_BUSY,
 * GPUBUF_INVALID_ARGUMENT (too many streams), GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_retire(gpubuf_slots *slots,
                                  uint64_t ticket,
                                  gpubuf_stream *const *streams,
                                  size_t stream_count);

/** The set's figures. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_stats_get(const gpubuf_slots *slots,
                                     gpubuf_slots_stats *inout_stats);

/**
 * Queues a copy of a slot's rows, as they are on the stream now, to a read-back entry, between commit and retire of `ticket`.
 *
 * `out_read_back` gets the number for gpubuf_slots_begin_read and gpubuf_slots_end_read. Never waits.
 * Stream order: behind everything queued on the stream and, on the device, behind the step's copy.
 * Errors: GPUBUF_NOT_BEGUN (retired, or another ticket), GPUBUF_BUSY (every read-back entry is in use),
 * GPUBUF_INVALID_ARGUMENT (no such rows, or more than read_back_bytes), GPUBUF_NOT_FOUND, GPUBUF_UNSUPPORTED
 * (read_back_depth 0), GPUBUF_COPY_FAILED (the step's copy, told once), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING,
 * GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_read_back(gpubuf_slots *slots,
                                     uint64_t ticket,
                                     uint32_t slot,
                                     uint64_t first_row,
                                     uint64_t row_count,
                                     gpubuf_stream *stream,
                                     uint64_t *out_read_back);

/**
 * As gpubuf_slots_read_back, of elements of a buffer's device side (or of its uva host side): a step's results.
 *
 * Stream order: also behind the library's copies and declared work that write the buffer.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_read_back_buffer(gpubuf_slots *slots,
                                            uint64_t ticket,
                                            gpubuf_buffer *buffer,
                                            uint64_t first,
                                            uint64_t count,
                                            gpubuf_stream *stream,
                                            uint64_t *out_read_back);

/**
 * The bytes of a read-back, once they have landed: valid until gpubuf_slots_end_read.
 *
 * Errors: GPUBUF_BUSY (try form), GPUBUF_TIMEOUT: call it again; GPUBUF_COPY_FAILED: end it; GPUBUF_NOT_BEGUN (ended, or
 * never begun), GPUBUF_WOULD_DEADLOCK, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_begin_read(gpubuf_slots *slots,
                                      uint64_t read_back,
                                      uint64_t timeout_ns,
                                      const void **out_data,
                                      uint64_t *out_bytes);

/**
 * Ends a read-back, read or not: its entry is free again.
 *
 * Errors: GPUBUF_NOT_BEGUN (ended, or never begun), GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_slots_end_read(gpubuf_slots *slots, uint64_t read_back);

/**
 * Copies rows into a slot. `row_count` may be GPUBUF_ALL: everything from `first_row` on.
 *
 * In a required slot `first_row` is at most the length written so far. Writing no rows counts as writing; `rows` may be NULL
 * then.
 * Threads: one at a time uses a step, here and below.
 * Errors: GPUBUF_NOT_BEGUN (committed), GPUBUF_BUSY (a span is open on the rows, or another thread is inside),
 * GPUBUF_INVALID_ARGUMENT (also where `rows` overlaps the rows that are written), GPUBUF_NOT_FOUND (no such slot).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_write(gpubuf_step *step,
                                uint32_t slot,
                                uint64_t first_row,
                                uint64_t row_count,
                                const void *rows);

/**
 * As gpubuf_step_write, of the slot of that name.
 *
 * Errors: also GPUBUF_NOT_FOUND (no slot of that name).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_write_named(gpubuf_step *step,
                                      const char *name,
                                      uint64_t first_row,
                                      uint64_t row_count,
                                      const void *rows);

/**
 * Copies rows into up to 64 slots, as gpubuf_step_write does one after the other. All is checked before anything is written.
 *
 * With a `token_count` other than GPUBUF_ALL the slots that follow the tokens have so many rows in this step: a row_count of
 * GPUBUF_ALL means up to there, and the call is refused if one of them, written by it or before, would be of another length.
 * No entry is a valid list.
 * Errors: as gpubuf_step_write; GPUBUF_INVALID_ARGUMENT also for a length that is not `token_count`.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_write_many(gpubuf_step *step,
                                     const gpubuf_slot_rows *entries,
                                     size_t entry_count,
                                     uint64_t token_count);

/**
 * Gives out rows of a slot to be filled in place until gpubuf_step_end_span with the token. They count as written.
 *
 * Errors: as gpubuf_step_write; GPUBUF_BUSY also with 32 spans open.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_begin_span(gpubuf_step *step,
                                     uint32_t slot,
                                     uint64_t first_row,
                                     uint64_t row_count,
                                     void **out_data,
                                     uint64_t *out_token);

/**
 * Ends a span: its pointer must not be used any more.
 *
 * Errors: GPUBUF_NOT_BEGUN (no such span is open, or the step was committed).
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_step_end_span(gpubuf_step *step, uint64_t token);

/**
 * Fills the rows from the written length up to `row_count` with the slot's pad value.
 *
 * Of a kept slot the written length is one past the last row written in this step. Errors: as gpubuf_step_write.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_pad(gpubuf_step *step,
                              uint32_t slot,
                              uint64_t row_count);

/**
 * Fills every slot that follows the tokens with its pad value, from its written length up to the padded size of the longest
 * of them (gpubuf_slots_padded_size), which `out_padded` gets. All is checked before anything is written.
 *
 * Errors: as gpubuf_step_write; GPUBUF_INVALID_ARGUMENT (a slot has fewer rows than the padded size), GPUBUF_UNSUPPORTED (no
 * slot follows the tokens).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_pad_tokens(gpubuf_step *step,
                                     uint64_t *out_padded);

/**
 * Binds a dynamic slot, for this step, to `bytes` of the caller's device memory at `address`: whole rows, as many as the slot has
 * at most. Nothing is copied. Binding a slot again replaces what it was bound to.
 *
 * Stream order: work queued so far on the streams named (up to 8 in all of the step's bindings) makes the memory ready; the
 * step and its consumers come behind it on the device. One fence is recorded on each.
 * Ownership: the memory is the caller's, who keeps it until the step's consumers are done.
 * Errors: GPUBUF_UNSUPPORTED (not a dynamic slot, or a step of gpubuf_slots_begin_replay), GPUBUF_INVALID_ARGUMENT,
 * GPUBUF_NOT_FOUND, GPUBUF_NOT_BEGUN (committed), GPUBUF_BUSY, GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_bind(gpubuf_step *step,
                               uint32_t slot,
                               uint64_t address,
                               uint64_t bytes,
                               gpubuf_stream *const *streams,
                               size_t stream_count);

/**
 * Binds a dynamic slot, for this step, to bytes of a block that kernels can use: a uva block, or one with a device twin. Whole
 * rows; `bytes` may be GPUBUF_ALL. Nothing is copied.
 *
 * The block stays the caller's, who may write it up to the commit. From then on the side that kernels read is sealed
 * (GPUBUF_UNFENCED for CPU writes in place and for copies to the twin) until the step is retired, which declares the consumers
 * as readers of it. It is not released (GPUBUF_GRAPH_HELD) before
 * the step is retired or given up.
 * Stream order: the commit comes, on the device, behind work that still writes the block; the retire records a fence on the
 * commit stream, too.
 * Errors: as gpubuf_step_bind; GPUBUF_UNSUPPORTED also for a block without an address for kernels, or whose twin is not there
 * yet; GPUBUF_NOT_HELD (released).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_bind_block(gpubuf_step *step,
                                     uint32_t slot,
                                     gpubuf_block *block,
                                     uint64_t offset,
                                     uint64_t bytes);

/**
 * A slot's address for this step's kernels: of a static slot between commit and retire, in the step's copy of the device
 * memory; of a dynamic one from its binding to retire.
 *
 * Errors: GPUBUF_NOT_BEGUN (not committed, or retired), GPUBUF_SLOT_UNWRITTEN (a dynamic slot that is not bound),
 * GPUBUF_NOT_FOUND, GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_address(const gpubuf_step *step,
                                  uint32_t slot,
                                  uint64_t *out_address);

/**
 * Brings what the step wrote to the device. `out_ticket` gets the number for gpubuf_slots_retire and the read-backs.
 *
 * Stream order: the copy is queued on `stream`, on the device behind whoever still uses the step before on the same copy of
 * the device memory: with a device_depth of K, the K-th last step; each of `consumers`
 * (up to 8 streams that will read the slots, `stream` need not be among them) waits for it on the device. Name every stream that will read the slots, here
 * or in the retire: others are not fenced. Never waits on the host.
 * Errors, with nothing changed: GPUBUF_SLOT_UNWRITTEN (also a dynamic slot that is not bound), GPUBUF_BUSY (a span, or
 * a write guard of a bound block, is open), GPUBUF_UNFENCED (a bound block is with work that nobody declared), GPUBUF_NOT_RETIRED (the
 * step that has the copy),
 * GPUBUF_NOT_BEGUN (committed or aborted), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING; GPUBUF_COPY_FAILED (an earlier step's
 * copy, told once, or the device refused this one: commit again). Where only a part could be queued, the step is over: destroy it, and launch nothing on it.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_commit(gpubuf_step *step,
                                 gpubuf_stream *stream,
                                 gpubuf_stream *const *consumers,
                                 size_t consumer_count,
                                 uint64_t *out_ticket);

/**
 * Gives the step up: nothing is sent. The handle ends with it.
 *
 * Errors: GPUBUF_NOT_BEGUN (committed), GPUBUF_BUSY (another thread is inside): the handle stays.
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_step_abort(gpubuf_step *step);

/**
 * Ends the committed step: as gpubuf_slots_retire with its ticket. The handle ends with it.
 *
 * Stream order: the streams named (up to 8, the declared consumers and the commit stream included) are those that read it.
 * Errors: GPUBUF_NOT_BEGUN (not committed yet, or retired), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_BUSY,
 * GPUBUF_INVALID_ARGUMENT (too many streams), GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_step_retire(gpubuf_step *step,
                                 gpubuf_stream *const *streams,
                                 size_t stream_count);

/**
 * Ends the handle and the step, whatever its state: aborts it while it is filled; retires it on its declared consumers and
 * the commit stream, and on no other, when it is committed and not retired.
 *
 * NULL is GPUBUF_OK, and so is a step that was retired or aborted before, by its ticket on another thread for one. Never
 * waits.
 * Errors: GPUBUF_STALE_HANDLE (never a step of this library), GPUBUF_BUSY (another thread is inside): the handle stays.
 */
GPUBUF_API
gpubuf_status gpubuf_step_destroy(gpubuf_step *step);

/**
 * A hold of no blocks yet: one for each executable graph that copies from blocks, or reads or writes them where they are.
 *
 * The order: add every block, begin the capture, capture copies and kernels, end the capture, make the graph executable,
 * gpubuf_graph_hold_set_graph; then, again and again: write the blocks, gpubuf_graph_hold_launch. A write waits for the
 * replays that still read the block.
 * Ownership: the caller's, until gpubuf_graph_hold_destroy.
 * Errors: GPUBUF_DEVICE_LOST, GPUBUF_SHUT_DOWN.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_graph_hold_create(gpubuf_device *device,
                                       gpubuf_graph_hold **out_hold);

/**
 * Ends the hold: its blocks may be released, detached and freed again, behind the replays that are queued.
 *
 * The caller has destroyed the executable graph before, or will not launch it any more. NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_graph_hold_destroy(gpubuf_graph_hold *hold);

/**
 * Adds a buffer, before its addresses are captured. Waits until each of its uses is over.
 *
 * From now on the buffer is not detached, and destroying it ends the handle alone: its memory stays until the hold ends,
 * and so does a write guard that is open in it, which keeps the graph from being launched.
 * Take the device address for the graph's kernels afterwards. A buffer may be in several holds, once in each.
 * Errors: GPUBUF_BUSY (a guard is open, or the try form would wait), GPUBUF_TIMEOUT, GPUBUF_UNFENCED (its address is with
 * work that nobody declared), GPUBUF_EXISTS (it is in this hold), GPUBUF_EXHAUSTED (128 blocks are in it),
 * GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING (a stream that was named with its address captures), GPUBUF_WOULD_DEADLOCK.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_graph_hold_add_buffer(gpubuf_graph_hold *hold,
                                           gpubuf_buffer *buffer,
                                           uint64_t timeout_ns);

/**
 * Adds a pool's block, before its addresses are captured. Waits until each of its uses is over.
 *
 * From now on the block is not released (GPUBUF_GRAPH_HELD) until the hold ends, even if its pool is destroyed.
 * Errors: as gpubuf_graph_hold_add_buffer; GPUBUF_NOT_HELD.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_graph_hold_add_block(gpubuf_graph_hold *hold,
                                          gpubuf_block *block,
                                          uint64_t timeout_ns);

/**
 * Adds the device memory of frozen slots, every copy of it, for graphs whose kernels read it. Never waits: a commit is no part of the graph,
 * and launches are ordered behind it.
 *
 * Destroying the slots ends the handle alone: their device memory stays until the hold ends.
 * Errors: GPUBUF_FROZEN (not frozen yet), GPUBUF_EXISTS, GPUBUF_EXHAUSTED, GPUBUF_WRONG_DEVICE, GPUBUF_BUSY (another thread
 * commits or retires at this moment).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_graph_hold_add_slots(gpubuf_graph_hold *hold,
                                          gpubuf_slots *slots);

/**
 * As gpubuf_graph_hold_add_slots, of one copy of the device memory only: where each copy has a graph of its own, each has a
 * hold of its own, too, so that a launch is not ordered behind work on the other copies.
 *
 * Errors: as gpubuf_graph_hold_add_slots; GPUBUF_NOT_FOUND (no such copy).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_graph_hold_add_slots_copy(gpubuf_graph_hold *hold,
                                               gpubuf_slots *slots,
                                               uint32_t copy);

/**
 * Adds the table to a graph hold, for graphs whose kernels read it. Waits until each of its uses is over.
 *
 * An apply is no part of the graph, and launches are ordered behind it. The table does not move until the hold ends, and
 * destroying the rows ends the handle alone.
 * Errors: as gpubuf_graph_hold_add_buffer.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_graph_hold_add_staged_rows(gpubuf_graph_hold *hold,
                                                gpubuf_staged_rows *rows,
                                                uint64_t timeout_ns);

/**
 * Appends a copy of a range to the graph that the stream captures, from the host side to the device side. Each replay reads
 * the host side anew; `count` may be GPUBUF_ALL.
 *
 * Nothing is queued or recorded. Both sides are sealed (GPUBUF_UNFENCED for CPU access and copies) until
 * gpubuf_graph_hold_set_graph, or gpubuf_graph_hold_replayed, says who launches the graph.
 * Errors: GPUBUF_NOT_BEGUN (the stream does not capture), GPUBUF_NOT_HELD (the buffer is not in the hold), GPUBUF_BUSY (a
 * write guard is open on the range), GPUBUF_UNSUPPORTED (a pageable host side, or one side only), GPUBUF_WRONG_DEVICE,
 * GPUBUF_CAPTURING (the driver refuses it in a capture).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_capture_to_device(gpubuf_buffer *buffer,
                                              gpubuf_graph_hold *hold,
                                              uint64_t first,
                                              uint64_t count,
                                              gpubuf_stream *stream);

/** As gpubuf_buffer_capture_to_device, from the device side to the host side: each replay writes the host side. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_buffer_capture_to_host(gpubuf_buffer *buffer,
                                            gpubuf_graph_hold *hold,
                                            uint64_t first,
                                            uint64_t count,
                                            gpubuf_stream *stream);

/** As gpubuf_buffer_capture_to_device, of bytes of a block with a twin in device memory. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_capture_to_device(gpubuf_block *block,
                                             gpubuf_graph_hold *hold,
                                             uint64_t offset,
                                             uint64_t bytes,
                                             gpubuf_stream *stream);

/** As gpubuf_buffer_capture_to_host, of bytes of a block with a twin in device memory. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_block_capture_to_host(gpubuf_block *block,
                                           gpubuf_graph_hold *hold,
                                           uint64_t offset,
                                           uint64_t bytes,
                                           gpubuf_stream *stream);

/**
 * Ties the hold to its executable graph (a CUgraphExec): from now on it is launched by gpubuf_graph_hold_launch only, so the
 * seals of the hold's blocks are lifted.
 *
 * A block that another hold captured copies of stays sealed until the launches of that graph are known, too.
 * Ownership: the graph stays the caller's; it must be alive at each launch. Setting another one replaces it.
 * Errors: GPUBUF_INVALID_ARGUMENT (NULL), GPUBUF_BUSY (another thread is inside a block).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_graph_hold_set_graph(gpubuf_graph_hold *hold,
                                          void *executable_graph);

/**
 * Launches the graph on the stream. Never waits on the host.
 *
 * Stream order: the launch comes behind work on other streams that the hold's blocks are in use by, and one fence is recorded
 * behind it. It counts as a read of the bytes that captured copies read, and as a write of those they write, of every device
 * side, and of host sides that kernels use in place.
 * A uva block whose copy stands in (gpubuf_buffer_info, stands_in) answers GPUBUF_CONFLICT while the device side lacks bytes that
 * the graph does not send itself: publish it first.
 * Errors: GPUBUF_NOT_BEGUN (no graph was set), GPUBUF_BUSY (a write guard is open on a block, a read guard on bytes that the
 * graph writes, or another thread is inside), GPUBUF_CAPTURING, GPUBUF_WRONG_DEVICE, GPUBUF_COPY_FAILED (an earlier copy, told
 * once), GPUBUF_DEVICE_LOST: nothing was launched. GPUBUF_QUARANTINED if the launch could not be fenced.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_graph_hold_launch(gpubuf_graph_hold *hold,
                                       gpubuf_stream *stream);

/**
 * Says that the caller launched the graph itself, and that its launches are queued on the stream by now: they count as
 * launches of gpubuf_graph_hold_launch do. Lifts the seals.
 *
 * Every launch that is not the library's has to be declared, before a block is written again. It was for the caller to see
 * that no guard was open, and that the launch came behind other streams.
 * Stream order: one fence is recorded.
 * Errors: GPUBUF_CAPTURING, GPUBUF_WRONG_DEVICE, GPUBUF_BUSY (another thread is inside, or a block is in use by too many
 * streams), GPUBUF_DEVICE_LOST; GPUBUF_QUARANTINED if no fence could be recorded.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_graph_hold_replayed(gpubuf_graph_hold *hold,
                                         gpubuf_stream *stream);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_staged_rows_options_init(gpubuf_staged_rows_options *options,
                                     uint32_t struct_size);

/**
 * A table, and room to stage writes of its rows. Everything is allocated here: staging and applying allocate nothing.
 *
 * On a CUDA device its kernel is compiled by the driver, which may take a while the first time. Where that fails, each piece
 * is applied by a copy of its own; the log and gpubuf_describe say so.
 * Ownership: the caller's, until gpubuf_staged_rows_destroy. A buffer is kept as long as the rows are; borrowed device memory
 * stays the caller's, who does not free it until release was called.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_UNSUPPORTED (the buffer has no side that kernels address),
 * GPUBUF_WRONG_DEVICE (the buffer's), GPUBUF_EXISTS (the memory is borrowed already), GPUBUF_OUT_OF_HOST_MEMORY,
 * GPUBUF_OUT_OF_DEVICE_MEMORY, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_staged_rows_create(gpubuf_device *device,
                                        const gpubuf_staged_rows_options *options,
                                        gpubuf_staged_rows **out_rows);

/**
 * Ends the handle. What is staged is dropped; what was applied still runs, and its memory, the table's included, is freed when its
 * last use is proven. In a graph hold the table stays until that ends.
 *
 * NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_staged_rows_destroy(gpubuf_staged_rows *rows);

/**
 * What they are, and what is staged. Set struct_size first; no more than that is written, and struct_size then says how much.
 *
 * Errors: GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_staged_rows_info_get(const gpubuf_staged_rows *rows,
                                          gpubuf_staged_rows_info *inout_info);

/**
 * Stages `count` elements for row `row`, from element `first` of it on. `values` are copied at once; nothing reaches the table
 * before gpubuf_staged_rows_apply. Where staged writes overlap, the last one wins.
 *
 * Threads: any, one at a time. Never waits, calls no driver, allocates nothing.
 * Errors: GPUBUF_INVALID_ARGUMENT (not inside the row, or no such row), GPUBUF_OVERFLOW (no room: apply or clear first),
 * GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_staged_rows_stage(gpubuf_staged_rows *rows,
                                       uint64_t row,
                                       uint64_t first,
                                       const void *values,
                                       uint64_t count);

/**
 * Applies what is staged: one copy to the device and one kernel that puts every write in its place, with one fence. Nothing at
 * all where nothing is staged.
 *
 * Stream order: behind everything queued on the stream; on the device, behind what other streams do to the table as far as the
 * library knows it, earlier applies included. Each consumer, up to 8, waits for it on the device. Kernels that read the table
 * are declared as those that read a buffer: their streams are named with gpubuf_staged_rows_device_address, or with
 * gpubuf_staged_rows_used_on after the launch.
 * Threads: any, one at a time. Waits only for a staging entry, up to the deadline, and allocates nothing.
 * Errors: GPUBUF_BUSY (the try form would have to wait; another thread is inside; a guard is open on a uva table),
 * GPUBUF_TIMEOUT, GPUBUF_UNFENCED (the table's address is with work that nobody declared), GPUBUF_INVALID_ARGUMENT (the buffer
 * lost a row that is staged), GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_WOULD_DEADLOCK, GPUBUF_EXHAUSTED (every
 * staging entry is lost), GPUBUF_COPY_FAILED (an earlier apply failed when it ran, and wrote nothing; told once),
 * GPUBUF_DEVICE_LOST; GPUBUF_QUARANTINED if it could not be fenced. After any of them everything is still staged, and applying it
 * again is harmless.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_staged_rows_apply(gpubuf_staged_rows *rows,
                                       gpubuf_stream *stream,
                                       gpubuf_stream *const *consumers,
                                       size_t consumer_count,
                                       uint64_t timeout_ns);

/**
 * Drops what is staged.
 *
 * Errors: GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_staged_rows_clear(gpubuf_staged_rows *rows);

/**
 * Gives the table more rows, which are zero. Within capacity_rows the address stays, also in a graph; beyond, the table moves:
 * its contents are copied in the order of the stream, and the old memory is freed when its last use is proven.
 *
 * `out_moved` gets 1 where the address is another now, else 0; NULL: not told. What is staged stays staged. Waits only for
 * work that still writes a uva table, up to the deadline.
 * Errors: GPUBUF_INVALID_ARGUMENT (fewer rows than there are), GPUBUF_UNSUPPORTED (the table is a buffer, which is to be resized
 * itself, or borrowed memory), GPUBUF_GRAPH_HELD (a graph holds a table that would move), GPUBUF_UNFENCED, GPUBUF_BUSY,
 * GPUBUF_TIMEOUT, GPUBUF_OVERFLOW, GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED (an earlier apply, told once),
 * GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_staged_rows_grow(gpubuf_staged_rows *rows,
                                      uint64_t row_count,
                                      gpubuf_stream *stream,
                                      uint64_t timeout_ns,
                                      uint32_t *out_moved);

/**
 * The table's address for kernels, the same until gpubuf_staged_rows_grow says that it moved. As
 * gpubuf_buffer_device_address: the streams named may use it at any time, and with none named the table is sealed.
 *
 * Errors: as gpubuf_buffer_device_address.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_staged_rows_device_address(gpubuf_staged_rows *rows,
                                                gpubuf_stream *const *streams,
                                                size_t stream_count,
                                                uint64_t *out_address);

/**
 * Says that work queued on the stream so far used the table: GPUBUF_ACCESS_READ or GPUBUF_ACCESS_WRITE. As
 * gpubuf_buffer_used_on.
 *
 * Errors: as gpubuf_buffer_used_on.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_staged_rows_used_on(gpubuf_staged_rows *rows,
                                         gpubuf_stream *stream,
                                         uint32_t access);

/**
 * The figures. Set struct_size first; no more than that is written, and struct_size then says how much.
 *
 * Errors: GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_staged_rows_stats_get(const gpubuf_staged_rows *rows,
                                           gpubuf_staged_rows_stats *inout_stats);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_spec_init(gpubuf_spec *spec,
                      uint32_t struct_size);

/**
 * The bytes of each side of a buffer of this spec; 0 for a side that it does not have.
 *
 * Errors: GPUBUF_INVALID_ARGUMENT (an unknown dtype, a shape or placements that no buffer has), GPUBUF_OVERFLOW,
 * GPUBUF_VERSION_MISMATCH.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_spec_bytes(const gpubuf_spec *spec,
                                uint64_t *out_host_bytes,
                                uint64_t *out_device_bytes);

/**
 * Writes 1 where both are the same dtype, shape and placements, else 0.
 *
 * Errors: as gpubuf_spec_bytes, for either.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_spec_equal(const gpubuf_spec *spec,
                                const gpubuf_spec *other,
                                uint32_t *out_equal);

/**
 * A number that is the same for equal specs, in every run of this version of the library.
 *
 * Errors: as gpubuf_spec_bytes.
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_spec_hash(const gpubuf_spec *spec, uint64_t *out_hash);

/** Zeroes `struct_size` bytes and sets struct_size. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_workspace_options_init(gpubuf_workspace_options *options,
                                   uint32_t struct_size);

/**
 * A new, empty workspace. `options` may be NULL: no limits.
 *
 * Ownership: the caller's, until gpubuf_workspace_destroy.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_create(gpubuf_device *device,
                                      const gpubuf_workspace_options *options,
                                      gpubuf_workspace **out_workspace);

/**
 * Ends the handle. Free entries end now, held ones with the last handle of their buffer; those go on working until then.
 * Threads that wait in the workspace get GPUBUF_SHUT_DOWN.
 *
 * NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_workspace_destroy(gpubuf_workspace *workspace);

/**
 * The buffer of this very name: made, zeroed, where there is none. Where there is one, its spec must be equal, and its
 * content and its uses are those that its last holder left.
 *
 * Ownership: a handle of the caller's own, to be ended by gpubuf_workspace_release or gpubuf_buffer_destroy. The buffer stays
 * in the workspace, and keeps its content until it is evicted.
 * What a new entry needs is taken from free entries, those that are free longest first, where limits demand it: never from
 * held ones; where work still uses them it is waited for. `name` has 1 to 255 bytes. Threads: any; two that ask for one name
 * get one buffer.
 * Errors: GPUBUF_EXISTS (the name is of another spec: the message says what differs), GPUBUF_BUDGET (over the limits, and what
 * would have to go is held), GPUBUF_BUSY (the try form would have to wait, for work or for another thread), GPUBUF_TIMEOUT,
 * GPUBUF_WOULD_DEADLOCK, those of gpubuf_spec_bytes and of gpubuf_buffer_create.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_get(gpubuf_workspace *workspace,
                                   const char *name,
                                   const gpubuf_spec *spec,
                                   uint64_t timeout_ns,
                                   gpubuf_buffer **out_buffer);

/**
 * The buffer of this very name, as gpubuf_workspace_get gives it.
 *
 * Errors: GPUBUF_NOT_FOUND, GPUBUF_BUSY and GPUBUF_TIMEOUT (another thread makes it, or gives it back).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_find(gpubuf_workspace *workspace,
                                    const char *name,
                                    uint64_t timeout_ns,
                                    gpubuf_buffer **out_buffer);

/**
 * A buffer of this spec, without a name, for the caller alone; every earlier use of it is over.
 *
 * Taken is a free one of equal spec that is idle, the longest free first; else one is made; else, where the limits forbid that,
 * one that work still uses is waited for. Its bytes are those of its last holder, or zeroes where `zero` is 1.
 * Stream order: with `zero`, the device side is zeroed on `stream`, which is needed where the spec has one: work on other
 * streams has to be ordered behind it. Otherwise `stream` may be NULL, and is not used.
 * Ownership: a handle of the caller's own, to be ended by gpubuf_workspace_release or gpubuf_buffer_destroy. The memory is free
 * for others then, and the streams named with its device address have no right to it any more: what is queued on them by then
 * is fenced.
 * Errors: GPUBUF_BUDGET, GPUBUF_BUSY, GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, those of
 * gpubuf_spec_bytes and of gpubuf_buffer_create.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_allocate(gpubuf_workspace *workspace,
                                        const gpubuf_spec *spec,
                                        uint32_t zero,
                                        gpubuf_stream *stream,
                                        uint64_t timeout_ns,
                                        gpubuf_buffer **out_buffer);

/**
 * Ends a handle that came from this workspace, as gpubuf_buffer_destroy does, but refuses where the buffer, with its last
 * holder, could not be used again.
 *
 * Never waits. The handle stays where it is refused. Memory whose address was given out with no stream named is not used
 * again in any case: it leaves the workspace, and a drain frees it.
 * Errors: GPUBUF_UNFENCED (its device address was given out with no stream named, and no use declared since), GPUBUF_BUSY (a
 * guard is open, another thread is inside), GPUBUF_GRAPH_HELD, GPUBUF_INVALID_ARGUMENT (it came from somewhere else).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_release(gpubuf_workspace *workspace,
                                       gpubuf_buffer *buffer);

/**
 * The name is free for another entry at once. Its buffer goes on without one: it is free for whoever needs one of its spec
 * when its last handle has ended.
 *
 * Errors: GPUBUF_NOT_FOUND.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_release_name(gpubuf_workspace *workspace,
                                            const char *name);

/**
 * Takes out free entries, with a name or without, those that are free longest first, until there are at most `max_entries` of
 * at most `max_bytes` in all, or none is free. `out_evicted` (may be NULL) gets how many went.
 *
 * Never waits: memory that work still uses is freed when that is done.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_evict(gpubuf_workspace *workspace,
                                     uint64_t max_entries,
                                     uint64_t max_bytes,
                                     uint64_t *out_evicted);

/**
 * Takes out every free entry, and leaves those that are held. `out_cleared` and `out_kept` (each may be NULL) say how many.
 *
 * Never waits.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_clear(gpubuf_workspace *workspace,
                                     uint64_t *out_cleared,
                                     uint64_t *out_kept);

/**
 * Queues, for every entry that is held or has a name, what is newer on one side to the other, as gpubuf_buffer_sync does with
 * each buffer's own policy. `out_synced` (may be NULL) gets how many had something to move.
 *
 * Stream order: as gpubuf_buffer_sync. Entries whose other side has everything are not touched.
 * Errors: the first of those of gpubuf_buffer_sync, when all other entries are done: GPUBUF_BUSY (another thread is inside, a write
 * guard is open), GPUBUF_CONFLICT, GPUBUF_UNFENCED; GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_sync_all(gpubuf_workspace *workspace,
                                        gpubuf_stream *stream,
                                        uint64_t *out_synced);

/** Tells `each` of every entry, in the order in which they were made, as they were when the call began. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_list(const gpubuf_workspace *workspace,
                                    gpubuf_workspace_entry_fn each,
                                    void *user_data);

/** The workspace's figures. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_workspace_stats_get(const gpubuf_workspace *workspace,
                                         gpubuf_workspace_stats *inout_stats);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_tensor_options_init(gpubuf_tensor_options *options,
                                uint32_t struct_size);

/**
 * A new tensor of zeroes, in ordinary host memory. It takes blocks of the pool when it publishes, and keeps them.
 *
 * The pool has blocks that kernels use in place (uva, managed), or device twins; a block is at least as large as the tensor.
 * Ownership: the caller's, until gpubuf_tensor_destroy. The pool may be destroyed before.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OVERFLOW, GPUBUF_UNSUPPORTED (kernels cannot address the pool's blocks),
 * GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tensor_create(gpubuf_pool *pool,
                                   const gpubuf_tensor_options *options,
                                   gpubuf_tensor **out_tensor);

/**
 * Ends the handle, and the truth with it. The blocks go back to the pool with the uses they have.
 *
 * NULL is GPUBUF_OK. Never waits.
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API gpubuf_status gpubuf_tensor_destroy(gpubuf_tensor *tensor);

/** What the tensor is. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tensor_info_get(const gpubuf_tensor *tensor,
                                     gpubuf_tensor_info *inout_info);

/**
 * The truth: ordinary host memory, the same for the tensor's life, to be read and written at any time. Whoever writes through
 * the pointer says so with gpubuf_tensor_mark before the next publish.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tensor_data(gpubuf_tensor *tensor,
                                 void **out_data);

/**
 * Says that elements of the truth were written through its pointer. `count` may be GPUBUF_ALL.
 *
 * Errors: GPUBUF_INVALID_ARGUMENT (outside the tensor), GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tensor_mark(gpubuf_tensor *tensor,
                                 uint64_t first,
                                 uint64_t count);

/**
 * Copies elements from `source` to the truth, and marks them. Never waits for the device: what was published stays as it was.
 *
 * Errors: as gpubuf_tensor_mark; GPUBUF_INVALID_ARGUMENT also where `source` overlaps those elements.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tensor_write(gpubuf_tensor *tensor,
                                  uint64_t first,
                                  uint64_t count,
                                  const void *source);

/**
 * Every element of the truth becomes `element`. Never waits for the device.
 *
 * Errors: GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_tensor_fill(gpubuf_tensor *tensor, const void *element);

/**
 * Gives the address of a block with what the truth holds now, for work that is queued on these streams, 1 to 8, before the
 * next publish.
 *
 * Where nothing changed since the last publish, and the work only reads, the block and its address are the same and nothing is
 * copied. Else the block
 * is the current one if nothing uses it, one that nothing uses any more, or one more of the pool's; only what changed since
 * that block was last in step is copied, by the CPU. Where the tensor may hold no more blocks, and the pool has none, it waits
 * for the block that was published first, up to the deadline.
 * `access`: GPUBUF_ACCESS_READ, or GPUBUF_ACCESS_WRITE where the work writes the block: then it is a block whose uses are over,
 * so that work of earlier publishes never sees what is written, and the next publish sends the truth anew, with what
 * gpubuf_tensor_to_host has taken over by then.
 * Stream order: the streams are fenced by the library, no later than the next publish: the work that is queued there by then
 * keeps its block. Where blocks have device twins, a copy to the twin is queued on the first stream, and the others wait for it
 * on the device.
 * Errors: GPUBUF_INVALID_ARGUMENT (no stream), GPUBUF_BUSY (the try form would have to wait; another thread is inside),
 * GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_WRONG_DEVICE, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED (the copy of an earlier publish,
 * told once), GPUBUF_EXHAUSTED, GPUBUF_SHUT_DOWN (the pool was destroyed before the first publish), GPUBUF_DEVICE_LOST,
 * GPUBUF_QUARANTINED. After an error the last address is for no more work.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tensor_publish(gpubuf_tensor *tensor,
                                    gpubuf_stream *const *streams,
                                    size_t stream_count,
                                    uint32_t access,
                                    uint64_t timeout_ns,
                                    uint64_t *out_address);

/**
 * Copies elements of the published block back to the truth, once the work on the streams named with it is done. `count` may be
 * GPUBUF_ALL. What was written to these elements of the truth since the publish is lost.
 *
 * Stream order: where blocks have device twins, a copy from the twin is queued on `stream`, behind that work, and waited for;
 * otherwise `stream` may be NULL. The try form that is refused leaves the copy queued, and the next try for the same elements takes what
 * that brings: work queued in between is not in it, but in the one after, and in any that waits.
 * Errors: GPUBUF_NOT_BEGUN (nothing was published with GPUBUF_ACCESS_WRITE), GPUBUF_BUSY, GPUBUF_TIMEOUT (the truth is as it was),
 * GPUBUF_INVALID_ARGUMENT, GPUBUF_WOULD_DEADLOCK, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED, GPUBUF_DEVICE_LOST, GPUBUF_QUARANTINED.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tensor_to_host(gpubuf_tensor *tensor,
                                    uint64_t first,
                                    uint64_t count,
                                    gpubuf_stream *stream,
                                    uint64_t timeout_ns);

/**
 * Waits until nothing uses the tensor's blocks any more.
 *
 * Errors: GPUBUF_BUSY, GPUBUF_TIMEOUT, GPUBUF_WOULD_DEADLOCK, GPUBUF_CAPTURING, GPUBUF_COPY_FAILED, GPUBUF_DEVICE_LOST,
 * GPUBUF_QUARANTINED.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tensor_synchronize(gpubuf_tensor *tensor,
                                        uint64_t timeout_ns);

/** The tensor's figures. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tensor_stats_get(const gpubuf_tensor *tensor,
                                      gpubuf_tensor_stats *inout_stats);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_tiers_options_init(gpubuf_tiers_options *options,
                               uint32_t struct_size);

/**
 * Tiers without blocks or memory yet. A tier is named by its memory: GPUBUF_PLACEMENT_DEVICE, _MANAGED, _PINNED or _PAGEABLE, the
 * highest first.
 *
 * Ownership: the caller's, until gpubuf_tiers_destroy.
 * Errors: GPUBUF_INVALID_ARGUMENT (no budget), GPUBUF_UNSUPPORTED (managed memory that the device does not have),
 * GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiers_create(gpubuf_device *device,
                                  const gpubuf_tiers_options *options,
                                  gpubuf_tiers **out_tiers);

/**
 * Ends the handle. Blocks go on working, and the tiers end with the last of them. NULL is GPUBUF_OK. Never waits.
 *
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_tiers_destroy(gpubuf_tiers *tiers);

/**
 * Decides by the accesses so far which blocks move, and queues the copies: what is worth a higher tier goes up, what is not makes
 * room for it, and what is over a budget goes down. gpubuf_device_maintain and the upkeep thread do the same.
 *
 * The same accesses and steps, each with the copies of the last one done, move the same blocks: no clock is asked. Both outputs,
 * how many blocks went up and down, may be NULL. Waits for nobody. Threads: any; while one steps a second one does nothing.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiers_step(gpubuf_tiers *tiers,
                                uint64_t *out_promoted,
                                uint64_t *out_demoted);

/**
 * Sends blocks of a tier down, those that are worth it least first, until `bytes` go, and gives its idle memory back to the driver.
 * Blocks that an access holds stay. `out_bytes`, how many go, may be NULL. Waits for nobody: the bytes are free when the copies
 * are done.
 *
 * Errors: GPUBUF_INVALID_ARGUMENT (no tier).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiers_demote(gpubuf_tiers *tiers,
                                  uint32_t tier,
                                  uint64_t bytes,
                                  uint64_t *out_bytes);

/**
 * Changes the budget of a tier that there is. What is over it goes down in the next steps.
 *
 * Errors: GPUBUF_INVALID_ARGUMENT (no such tier, or 0).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiers_set_budget(gpubuf_tiers *tiers,
                                      uint32_t tier,
                                      uint64_t budget_bytes);

/** The figures of tiers. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiers_stats_get(const gpubuf_tiers *tiers,
                                     gpubuf_tiers_stats *inout_stats);

/**
 * The figures of one tier. Set struct_size first; no more than that is written, and struct_size then says how much.
 *
 * Errors: GPUBUF_INVALID_ARGUMENT (no tier).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiers_tier_get(const gpubuf_tiers *tiers,
                                    uint32_t tier,
                                    gpubuf_tier_stats *inout_stats);

/**
 * A buffer of this spec, for the caller alone, that stays where it is: its host side counts in the budget of the tier of its
 * placement, its device side in that of device memory, and blocks make room for them. Zeroed. Waits for room.
 *
 * Ownership: a handle of the caller's own, to be ended by gpubuf_buffer_destroy; the budgets have its bytes back when its memory
 * goes, which is when the last handle or view of it has ended and its last use is over.
 * Errors: GPUBUF_BUDGET, GPUBUF_BUSY (try form), GPUBUF_TIMEOUT, GPUBUF_INVALID_ARGUMENT (no such tier), those of
 * gpubuf_spec_bytes and of gpubuf_buffer_create.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiers_allocate(gpubuf_tiers *tiers,
                                    const gpubuf_spec *spec,
                                    uint64_t timeout_ns,
                                    gpubuf_buffer **out_buffer);

/**
 * A new block in a tier; with GPUBUF_PLACEMENT_NONE, in the lowest that has room. Its bytes are those of a last use, or zeroes.
 * Never waits: nobody makes room for it.
 *
 * Ownership: the caller's, until gpubuf_tiered_block_destroy. The tiers may be destroyed before.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_BUDGET (no room), GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_OUT_OF_DEVICE_MEMORY,
 * GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiered_block_create(gpubuf_tiers *tiers,
                                         uint64_t bytes,
                                         uint32_t tier,
                                         gpubuf_tiered_block **out_block);

/**
 * Ends the handle and the block. Accesses of kernels end with a fence on their streams; memory goes when its last use is over. NULL
 * is GPUBUF_OK. Never waits.
 *
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_tiered_block_destroy(gpubuf_tiered_block *block);

/**
 * Gives the CPU the whole block, and holds it in the tier until gpubuf_tiered_block_release.
 *
 * `tier` is any but GPUBUF_PLACEMENT_DEVICE; GPUBUF_PLACEMENT_NONE: where it is, if the CPU can use that, else the best that it
 * can. A block that is elsewhere is moved, and others make room. `access`: readers share, a writer is alone. Waits for work that
 * forbids the access, for the move, and for room.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_BUSY (another access, another thread; try form), GPUBUF_TIMEOUT, GPUBUF_BUDGET (who is
 * in the tier is held, or the block is larger than it), GPUBUF_COPY_FAILED (told once: the copy of a move failed, and the block is
 * where it was before that), GPUBUF_WOULD_DEADLOCK.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiered_block_begin(gpubuf_tiered_block *block,
                                        uint32_t tier,
                                        uint32_t access,
                                        uint64_t timeout_ns,
                                        void **out_data,
                                        uint64_t *out_token);

/**
 * Gives the block's address to work that is queued on these streams, 1 to 8, until gpubuf_tiered_block_release, and holds it in the
 * tier for so long. The streams wait on the device for what used the block before, its move included; the host waits for room
 * alone.
 *
 * `tier` is any but GPUBUF_PLACEMENT_PAGEABLE; GPUBUF_PLACEMENT_NONE: where it is, if kernels can use that, else the best that they
 * can. `access`: GPUBUF_ACCESS_READ, beside which others may read, or GPUBUF_ACCESS_WRITE, which is alone.
 * Errors: as gpubuf_tiered_block_begin, and GPUBUF_CAPTURING.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiered_block_acquire(gpubuf_tiered_block *block,
                                          uint32_t tier,
                                          uint32_t access,
                                          gpubuf_stream *const *streams,
                                          size_t stream_count,
                                          uint64_t timeout_ns,
                                          uint64_t *out_address,
                                          uint64_t *out_token);

/**
 * Ends an access. That of kernels ends with a fence on each stream that was named: what is queued there up to now may use the
 * address.
 *
 * Errors: GPUBUF_NOT_BEGUN (no such access), GPUBUF_CAPTURING (a stream captures: the access stays), GPUBUF_QUARANTINED (the fence
 * could not be recorded: the access is over, and so is the block), GPUBUF_BUSY.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiered_block_release(gpubuf_tiered_block *block,
                                          uint64_t token);

/**
 * Moves the block to a tier: the copy is queued behind what used the block. Waits for room there, and for a move of before.
 *
 * A copy that fails leaves the block where it was.
 * Errors: as gpubuf_tiered_block_begin; GPUBUF_BUSY also where an access holds the block.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiered_block_move(gpubuf_tiered_block *block,
                                       uint32_t tier,
                                       uint64_t timeout_ns);

/**
 * Where the block is. Set struct_size first; no more than that is written, and struct_size then says how much.
 *
 * Errors: GPUBUF_BUSY (another thread is inside).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_tiered_block_info_get(const gpubuf_tiered_block *block,
                                           gpubuf_tiered_block_info *inout_info);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_pressure_options_init(gpubuf_pressure_options *options,
                                  uint32_t struct_size);

/**
 * A watch over the memory of the device and of the host. `options` may be NULL, for the defaults.
 *
 * It looks when it is stepped: by gpubuf_pressure_step, gpubuf_device_maintain or the upkeep thread.
 * Ownership: the caller's, until gpubuf_pressure_destroy.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_VERSION_MISMATCH, GPUBUF_DEVICE_LOST.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pressure_create(gpubuf_device *device,
                                     const gpubuf_pressure_options *options,
                                     gpubuf_pressure **out_pressure);

/**
 * Ends the watch. A step under way on another thread may still call back. NULL is GPUBUF_OK. Never waits.
 *
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API
gpubuf_status gpubuf_pressure_destroy(gpubuf_pressure *pressure);

/**
 * Has a pool's free blocks go when the host's memory is high, or, where they have twins, the device's. The pool may end first.
 *
 * Errors: GPUBUF_WRONG_DEVICE, GPUBUF_OUT_OF_HOST_MEMORY.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pressure_add_pool(gpubuf_pressure *pressure,
                                       gpubuf_pool *pool);

/**
 * Has a workspace's free entries go when the device's memory or the host's is high. The workspace may end first.
 *
 * Errors: as gpubuf_pressure_add_pool.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pressure_add_workspace(gpubuf_pressure *pressure,
                                            gpubuf_workspace *workspace);

/**
 * Watches a manager's budget, and has its idle slabs go when that, or the host's memory, is high. The manager may end first.
 *
 * Errors: as gpubuf_pressure_add_pool.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pressure_add_pinned(gpubuf_pressure *pressure,
                                         gpubuf_pinned *pinned);

/**
 * Watches the budget of each tier, and has blocks go down where it, or for device memory the device's, is high; until it is low
 * again, steps bring nothing up there. At other times, and until the pressure object is destroyed, they fill each tier only as far as
 * its low mark. The tiers may end first.
 *
 * Errors: as gpubuf_pressure_add_pool.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pressure_add_tiers(gpubuf_pressure *pressure,
                                        gpubuf_tiers *tiers);

/**
 * Reads what is watched; where something is high, has those who were added answer: what is idle goes at once, and blocks of tiers
 * go down where nothing was idle. Then tells notify of changes. `out_changes`, how many, may be NULL. Waits for nobody.
 *
 * Threads: any; while one steps a second one does nothing.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pressure_step(gpubuf_pressure *pressure,
                                   uint32_t *out_changes);

/** A watch's figures. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_pressure_stats_get(const gpubuf_pressure *pressure,
                                        gpubuf_pressure_stats *inout_stats);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_predictor_options_init(gpubuf_predictor_options *options,
                                   uint32_t struct_size);

/**
 * A predictor that has recorded nothing yet. `device`, in whose reports it is, may be NULL; so may `options`, for the defaults.
 *
 * All its memory, some hundred bytes for each of most_sizes and of the contexts of its method, is made here.
 * Ownership: the caller's, until gpubuf_predictor_destroy.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_OUT_OF_HOST_MEMORY, GPUBUF_VERSION_MISMATCH.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_predictor_create(gpubuf_device *device,
                                      const gpubuf_predictor_options *options,
                                      gpubuf_predictor **out_predictor);

/**
 * Ends the handle. What was warmed stays where it is. NULL is GPUBUF_OK.
 *
 * Errors: GPUBUF_STALE_HANDLE (destroyed before).
 */
GPUBUF_API gpubuf_status gpubuf_predictor_destroy(gpubuf_predictor *predictor);

/**
 * The next step has come, and this is its size in bytes, at least 1. `out_hit` is 1 where it was among the predicted ones, else 0;
 * it may be NULL.
 *
 * Threads: any. Allocates nothing, and takes a time that does not depend on what was recorded.
 * Errors: GPUBUF_INVALID_ARGUMENT (0, or above INT64_MAX: not recorded).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_predictor_record(gpubuf_predictor *predictor,
                                      uint64_t size,
                                      uint32_t *out_hit);

/**
 * The sizes that the next step may have, the likeliest first, each once: up to `capacity`, and not more than the options' count.
 *
 * There are fewer while fewer are known, none before the first record. `out_count` is how many were written.
 * Threads: any. Allocates nothing.
 * Errors: GPUBUF_INVALID_ARGUMENT (NULL with a capacity above 0).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_predictor_predict(const gpubuf_predictor *predictor,
                                       uint64_t *out_sizes,
                                       size_t capacity,
                                       size_t *out_count);

/** The predictor's figures. Set struct_size first; no more than that is written, and struct_size then says how much. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_predictor_stats_get(const gpubuf_predictor *predictor,
                                         gpubuf_predictor_stats *inout_stats);

/**
 * Calls `warm` for each predicted size, the likeliest first: it has memory for that size ready, and free, when it comes. Whatever
 * gives memory and takes it back is warmed by taking some and giving it back.
 *
 * Not for a step's path: what is made ahead is made where nobody waits for it. `out_warmed_bytes`, the sum of what `warm`
 * returned, may be NULL.
 * Threads: any; `warm` is called on this one, under no lock of the library.
 * Errors: GPUBUF_INVALID_ARGUMENT (`warm` is NULL).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_predictor_prewarm(gpubuf_predictor *predictor,
                                       gpubuf_warm_fn warm,
                                       void *user_data,
                                       uint64_t *out_warmed_bytes);

/**
 * Sees to it that the pool has `blocks_each` free blocks for each predicted size that is above `above_bytes` (what is not is a
 * smaller pool's; 0: none is) and fits a block. Blocks that lack are made, as far as the pool's max_blocks goes, and are free.
 *
 * The pool's waiters and reserve come before. `out_made`, the blocks that were made, and `out_missing`, the free blocks that
 * lack still, may be NULL: a pool that is at its max_blocks, or memory that cannot be had, is no error. The pool does not
 * shrink for the cool-down that its options name.
 * Allocates, and may call the driver: not for a step's path. Threads: any.
 * Errors: GPUBUF_INVALID_ARGUMENT (above_bytes is not below the pool's block size, or blocks_each is not 1 to 1048576),
 * GPUBUF_DEVICE_LOST, GPUBUF_SHUT_DOWN.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_predictor_prewarm_pool(gpubuf_predictor *predictor,
                                            gpubuf_pool *pool,
                                            uint64_t above_bytes,
                                            uint32_t blocks_each,
                                            uint32_t *out_made,
                                            uint32_t *out_missing);

/**
 * Pools for what was recorded, as lines of C++ to paste: the fewest with which at most a tenth of the bytes is padding, at most
 * four; each with as many blocks as steps of its sizes were under way at a time (steps_in_flight).
 *
 * Sizes that made room for others are not in it: the first line says how many records are. Allocates; not for a step's path.
 * Cut to fit and ended; `out_length`, the whole length, may be NULL. The text may change at any time.
 * Errors: GPUBUF_INVALID_ARGUMENT (`buffer` is NULL with a capacity above 0), GPUBUF_OUT_OF_HOST_MEMORY.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_predictor_suggest(const gpubuf_predictor *predictor,
                                       char *buffer,
                                       size_t capacity,
                                       size_t *out_length);

/** Zeroes `struct_size` bytes, sets struct_size and the defaults. Does nothing with NULL, or where struct_size is too small. */
GPUBUF_API
void gpubuf_decode_options_init(gpubuf_decode_options *options,
                                uint32_t struct_size);

/**
 * The slots of a decode loop, not frozen yet: more may be added.
 *
 * Required: input_ids i32, positions i64 and slot_mapping i64 (padded with -1), which follow the tokens; query_start_loc i32, one
 * more than requests; seq_lens i32, one for each request. Kept, one for each request: temperature f32, top_k i32, top_p f32,
 * seeds i64 and, with a copy of its own, block_table i32 with a row of ceil(max_seq_len / block_size) each.
 *
 * With a source, gpubuf_slots_freeze takes the memory of the slots from there: a buffer of device memory for each copy of the
 * block, and one of page-locked memory for each staging and each read-back entry. It waits as taking a buffer there does, up to the
 * device's default deadline, and adds GPUBUF_BUDGET, GPUBUF_BUSY and GPUBUF_TIMEOUT to its errors. What is taken stays until the
 * slots have ended and their last use is proven, whoever destroys the source first; rows that no step wrote hold what its last
 * holder left.
 * Ownership: as gpubuf_slots_create; the source is held by the slots.
 * Errors: as gpubuf_slots_create, gpubuf_tiers_create and gpubuf_predictor_create; GPUBUF_INVALID_ARGUMENT (more than one source),
 * GPUBUF_WRONG_DEVICE, GPUBUF_OVERFLOW (a slot of so many elements).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_create_decode(gpubuf_device *device,
                                         const gpubuf_decode_options *options,
                                         gpubuf_slots **out_slots);

/**
 * The tiers that the slots take their memory from: those of source_tiers, or those that were made for tiered. They can be used as
 * any others, and their blocks share the budgets with the slots.
 *
 * Ownership: a handle of the caller's, until gpubuf_tiers_destroy; the tiers live as long as anybody uses them.
 * Errors: GPUBUF_UNSUPPORTED (made without either).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_tiers(gpubuf_slots *slots,
                                 gpubuf_tiers **out_tiers);

/**
 * The predictor that the slots were made with. Its sizes are padded numbers of tokens, not bytes: each step that is committed
 * records that of the longest slot that follows the tokens, as gpubuf_slots_padded_size gives it. A step without tokens is not
 * recorded.
 *
 * Ownership: a handle of the caller's, until gpubuf_predictor_destroy; the predictor lives as long as anybody uses it.
 * Errors: GPUBUF_UNSUPPORTED (made without predictive).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_slots_predictor(gpubuf_slots *slots,
                                     gpubuf_predictor **out_predictor);

/**
 * The state of the whole process: the library, what the system lets it have, each device with its reason, its figures, what a
 * probe found, its streams and its objects, and every object that a handle is still out for.
 *
 * `format` is GPUBUF_REPORT_TEXT or GPUBUF_REPORT_JSON. `buffer`, `capacity` and `out_length` as in gpubuf_describe; since the
 * text may grow between two calls, one that asks for the length first gives itself some more. Objects go on changing meanwhile:
 * each is consistent in itself. Works after gpubuf_shutdown as well.
 * Where GPUBUF_TRACK=1 is in the environment, objects know the frames of the caller's that made them.
 * Threads: any. Not for the path of a step.
 * Errors: GPUBUF_INVALID_ARGUMENT, GPUBUF_FORKED.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_report(uint32_t format,
                            char *buffer,
                            size_t capacity,
                            size_t *out_length);

/**
 * Copies rows by their numbers: row i of the target becomes row `indices[i]` of the source.
 *
 * The target has room for index_count rows. All indices are checked before the first write. Memory is host memory at any
 * alignment; a pointer may be NULL where there is nothing to read or write behind it, in all gpubuf_ops_ functions. They
 * work at any time, also after a shutdown or a fork, and order nothing: on a buffer's memory use them between begin and end.
 * Errors: GPUBUF_INVALID_ARGUMENT (an index that is no row of the source: the message names position, value and limit; the
 * target overlaps source or indices; index_dtype is neither GPUBUF_DTYPE_I32 nor GPUBUF_DTYPE_I64), GPUBUF_OVERFLOW.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_ops_gather(const void *source,
                                size_t source_count,
                                size_t row_bytes,
                                const void *indices,
                                uint32_t index_dtype,
                                size_t index_count,
                                void *out_target);

/**
 * Copies rows to where their numbers say: row `indices[i]` of the target becomes row i of the source.
 *
 * The source has index_count rows, the target target_count; rows of the target that no index names stay as they are. Where an
 * index comes twice, the last one wins. All indices are checked before the first write.
 * Errors: GPUBUF_INVALID_ARGUMENT (an index that is no row of the target: the message names position, value and limit; the
 * target overlaps source or indices; an unknown index_dtype), GPUBUF_OVERFLOW.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_ops_scatter(const void *source,
                                 size_t row_bytes,
                                 const void *indices,
                                 uint32_t index_dtype,
                                 size_t index_count,
                                 void *out_target,
                                 size_t target_count);

/**
 * Copies a row-major array and pads one axis of the copy to a multiple, with elements of this value.
 *
 * `shape` has 1 to GPUBUF_MAX_RANK extents, outermost first; an extent may be 0, which is a multiple. `capacity` is the
 * target's room in elements. `out_extent` gets the axis's extent once padded.
 * Errors: GPUBUF_INVALID_ARGUMENT (rank, axis, element_bytes or multiple out of range; the target overlaps source or value),
 * GPUBUF_OVERFLOW (the padded array has more elements than capacity, or than memory can have).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_ops_pad(const void *source,
                             const uint64_t *shape,
                             uint32_t rank,
                             size_t element_bytes,
                             uint32_t axis,
                             uint64_t multiple,
                             const void *value,
                             void *out_target,
                             size_t capacity,
                             uint64_t *out_extent);

/**
 * As gpubuf_ops_pad, where the array is: at the start of `inout_data`, which has room for `capacity` elements.
 *
 * Errors: as gpubuf_ops_pad.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_ops_pad_in_place(void *inout_data,
                                      size_t capacity,
                                      const uint64_t *shape,
                                      uint32_t rank,
                                      size_t element_bytes,
                                      uint32_t axis,
                                      uint64_t multiple,
                                      const void *value,
                                      uint64_t *out_extent);

/**
 * The count + 1 offsets of count lengths: a 0, then the sum up to and with each length; the last one is the total.
 *
 * Nothing is written before every length and every sum is checked.
 * Errors: GPUBUF_INVALID_ARGUMENT (a negative length; offsets and lengths overlap; an unknown dtype), GPUBUF_OVERFLOW (a sum
 * does not fit offset_dtype).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_ops_offsets(const void *lengths,
                                 uint32_t length_dtype,
                                 size_t count,
                                 uint32_t offset_dtype,
                                 void *out_offsets);

/**
 * Copies pieces of different lengths one behind the other, and tells where each begins.
 *
 * `capacity` is the target's room in elements. `out_offsets` gets piece_count + 1 integers: piece i lies from the i-th to
 * the next, and the last one is the total. Nothing is written before everything is checked.
 * Errors: GPUBUF_INVALID_ARGUMENT (a piece without data; outputs overlap each other or what is read; an unknown
 * offset_dtype), GPUBUF_OVERFLOW (the total is more than capacity, than memory can have, or than fits offset_dtype).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_ops_flatten(const gpubuf_piece *pieces,
                                 size_t piece_count,
                                 size_t element_bytes,
                                 uint32_t offset_dtype,
                                 void *out_target,
                                 size_t capacity,
                                 void *out_offsets);

/**
 * The pieces of an array as views, between neighbouring offsets: no element is copied.
 *
 * `source` has count elements, `offsets` piece_count + 1 integers; it may be NULL where piece_count is 0. The first offset is
 * 0, none is less than the one before it, and the last is at most count. A piece is valid as long as the source's memory.
 * Errors: GPUBUF_INVALID_ARGUMENT (offsets that are none: the message names the first wrong one; out_pieces overlaps offsets;
 * an unknown offset_dtype), GPUBUF_OVERFLOW.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_ops_split(const void *source,
                               size_t count,
                               size_t element_bytes,
                               const void *offsets,
                               uint32_t offset_dtype,
                               size_t piece_count,
                               gpubuf_piece *out_pieces);

/**
 * Has the stream start nothing more until it is released as often; what runs goes on. Destroying it releases it. With CUDA
 * what is queued already still runs: hold first.
 *
 * The test kit works on the host backend and, over the driver's own means, with CUDA; faults, delays, links and limits are made
 * by a simulation only (the host backend, and the stand-in driver).
 * Errors: GPUBUF_UNSUPPORTED (not on this device), here and in every function of the test kit.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_stream_hold(gpubuf_stream *stream);

/** Takes one hold back: this thread's latest, or the latest of all. Does nothing where there is none. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_stream_release(gpubuf_stream *stream);

/** Queues a delay, as a kernel would take. */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_host_stream_delay(gpubuf_stream *stream, uint64_t ns);

/**
 * Queues a function, in stream order.
 *
 * Ownership: `user_data` must stay valid until the function has run, or the device was lost or shut down.
 * Errors: GPUBUF_CAPTURING (what is captured runs more than once: gpubuf_host_capture_call).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_stream_call(gpubuf_stream *stream,
                                      gpubuf_host_fn function,
                                      void *user_data);

/**
 * Begins a capture: what is queued on the stream from now on becomes the nodes of a graph and runs with each launch of it.
 *
 * Errors: GPUBUF_CAPTURING (it captures already, or the device refuses).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_capture_begin(gpubuf_stream *stream);

/**
 * Ends the capture, on the thread that began it, and makes its graph executable.
 *
 * Cast to a pointer the number is what gpubuf_graph_hold_set_graph takes. On the host backend it is checked, never trusted; with
 * CUDA it is the driver's CUgraphExec, which only its owner can vouch for.
 * Ownership: the caller's, until gpubuf_host_graph_destroy, or until the device is gone.
 * Errors: GPUBUF_NOT_BEGUN (it does not capture), GPUBUF_CAPTURING (the capture was broken, and is over now; or another thread
 * began it, and it goes on).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_capture_end(gpubuf_stream *stream,
                                      uint64_t *out_graph);

/**
 * As gpubuf_host_stream_call on a stream that captures: the function runs with each launch of the graph.
 *
 * Ownership: `user_data` must stay valid until the graph was destroyed and its last launch has run.
 * Errors: GPUBUF_NOT_BEGUN (the stream does not capture).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_capture_call(gpubuf_stream *stream,
                                       gpubuf_host_fn function,
                                       void *user_data);

/**
 * Launches a graph of gpubuf_host_capture_end, as code would that the library does not see: no fence is recorded, no block
 * looked at. gpubuf_graph_hold_replayed declares it.
 *
 * Errors: GPUBUF_NOT_FOUND (not such a graph of this device; on the host backend).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_graph_launch(gpubuf_stream *stream,
                                       uint64_t graph);

/**
 * Destroys a graph of gpubuf_host_capture_end. Launches that are queued still run.
 *
 * A NULL device is GPUBUF_OK.
 * Errors: GPUBUF_NOT_FOUND (destroyed before, or not of this device; on the host backend).
 */
GPUBUF_API gpubuf_status gpubuf_host_graph_destroy(gpubuf_device *device, uint64_t graph);

/**
 * Reads device or page-locked memory by its device address, as it is at this moment.
 *
 * Threads: only inside the function that was given the view.
 * Errors: GPUBUF_STALE_HANDLE (not such a view), GPUBUF_INVALID_ARGUMENT (not inside one allocation).
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_view_read(gpubuf_host_view *view,
                                    uint64_t address,
                                    void *destination,
                                    uint64_t bytes);

/**
 * Writes device or page-locked memory by its device address.
 *
 * Threads, errors: as gpubuf_host_view_read.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_view_write(gpubuf_host_view *view,
                                     uint64_t address,
                                     const void *source,
                                     uint64_t bytes);

/**
 * Has each operation of the device begin late: by `fixed_ns`; or, where `max_ns` is not 0, by 0 to `max_ns`, repeatably by
 * `seed`. All 0: at once. It holds for operations that start from now on.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_set_delay(gpubuf_device *device,
                                    uint64_t fixed_ns,
                                    uint64_t seed,
                                    uint64_t max_ns);

/** Sets the time copies between host and device take: `latency_ns`, and `bytes_per_second` (0: unlimited). */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_set_link(gpubuf_device *device,
                                   uint64_t latency_ns,
                                   uint64_t bytes_per_second);

/** When copies read pageable memory: 1: when they run, as they read page-locked memory; 0: when they are queued. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_set_pageable_late(gpubuf_device *device,
                                            uint32_t late);

/**
 * Whether the device sees, of the page-locked memory that is made from now on, a copy from that moment by its device address,
 * as on a machine that maps memory for the device once and for all. 1: a copy; 0: the memory itself.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_set_uva_stale(gpubuf_device *device,
                                        uint32_t stale);

/**
 * Has the `nth` operation of a kind (GPUBUF_HOST_ANY, GPUBUF_HOST_COPY, ...) from now fail, once; 1 is the next one.
 *
 * `when` is GPUBUF_HOST_AT_SUBMISSION, GPUBUF_HOST_AT_EXECUTION or GPUBUF_HOST_AT_LOSS. What goes into a capture counts for the
 * first only; for the others it counts when a launch replays it. Each kind has at most one such fault; `nth` 0 removes it.
 * Over the stand-in driver the kinds from GPUBUF_HOST_ALLOCATION on are GPUBUF_UNSUPPORTED: there gpubuf_standin_fail_call does it.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_fail_operation(gpubuf_device *device,
                                         uint32_t operation,
                                         uint64_t nth,
                                         uint32_t when);

/**
 * How many operations of a kind the device was asked for so far, those that a fault refused included: a run without faults
 * counts, and the runs after it have each of them fail in turn (docs/faults.md).
 *
 * Not over the stand-in driver (GPUBUF_UNSUPPORTED), where gpubuf_standin_calls counts the driver's functions.
 */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_count_operations(gpubuf_device *device,
                                           uint32_t operation,
                                           uint64_t *out_count);

/** Limits the memory of GPUBUF_PLACEMENT_PINNED or GPUBUF_PLACEMENT_DEVICE to so many bytes, in whole pages, from now on. */
GPUBUF_API GPUBUF_MUST_USE
gpubuf_status gpubuf_host_limit_memory(gpubuf_device *device,
                                       uint32_t placement,
                                       uint64_t bytes);

/** Loses the device, for good: what is queued is dropped, and nothing runs on it again. */
GPUBUF_API GPUBUF_MUST_USE gpubuf_status gpubuf_host_lose_device(gpubuf_device *device);

/** Nanoseconds that this thread has spent so far inside the emulated device, for benchmarks to subtract. */
GPUBUF_API
uint64_t gpubuf_host_time_inside_ns(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GPUBUF_GPUBUF_H */
