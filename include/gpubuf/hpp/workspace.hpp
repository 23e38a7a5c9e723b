// Specs and workspaces. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_WORKSPACE_HPP
#define GPUBUF_HPP_WORKSPACE_HPP

#include <gpubuf/hpp/buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace gpubuf {

/// What a buffer is to be, or is: element type, shape, and where its sides live. A value; std::hash knows it.
class spec {
 public:
  spec(gpubuf::dtype elements, const extents& shape, placement host = placement::pinned,
       placement device = placement::device) noexcept {
    gpubuf_spec_init(&raw_, static_cast<std::uint32_t>(sizeof raw_));
    raw_.dtype = detail::number(elements);
    raw_.host_placement = detail::number(host);
    raw_.device_placement = detail::number(device);
    shape.put(raw_);
  }
  template <class T>
  static spec of(const extents& shape, placement host = placement::pinned, placement device = placement::device) noexcept {
    return spec(dtype_of<T>::value, shape, host, device);
  }
  /// What this buffer is.
  template <class Form = throwing>
  static outcome<Form, spec> of(const buffer& made) noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_buffer_info>();
    const gpubuf_status code = gpubuf_buffer_info_get(made.capi(), &about);
    const std::size_t rank = about.rank < GPUBUF_MAX_RANK ? about.rank : GPUBUF_MAX_RANK;
    return detail::give<Form>(code, spec(static_cast<gpubuf::dtype>(about.dtype), span<const std::uint64_t>(about.shape, rank),
                                         static_cast<placement>(about.host_placement),
                                         static_cast<placement>(about.device_placement)));
  }
  static spec from_capi(const gpubuf_spec& raw) noexcept { return spec(raw); }
  const gpubuf_spec& capi() const noexcept { return raw_; }

  gpubuf::dtype dtype() const noexcept { return static_cast<gpubuf::dtype>(raw_.dtype); }
  extents shape() const noexcept { return span<const std::uint64_t>(raw_.shape, rank()); }
  placement host() const noexcept { return static_cast<placement>(raw_.host_placement); }
  placement device() const noexcept { return static_cast<placement>(raw_.device_placement); }

  struct sizes {
    std::uint64_t host = 0, device = 0;
    std::uint64_t both() const noexcept { return host + device; }
  };
  /// Bytes of each side (invalid_argument, overflow: what no buffer can be).
  template <class Form = throwing>
  outcome<Form, sizes> bytes() const noexcept(quiet<Form>) {
    sizes out;
    const gpubuf_status code = gpubuf_spec_bytes(&raw_, &out.host, &out.device);
    return detail::give<Form>(code, out);
  }
  /// Equal for equal specs; 0 for what no buffer can be.
  std::size_t hash() const noexcept {
    std::uint64_t out = 0;
    return gpubuf_spec_hash(&raw_, &out) == GPUBUF_OK ? static_cast<std::size_t>(out) : 0;
  }
  friend bool operator==(const spec& a, const spec& b) noexcept {
    if (a.raw_.dtype != b.raw_.dtype || a.raw_.rank != b.raw_.rank || a.raw_.host_placement != b.raw_.host_placement ||
        a.raw_.device_placement != b.raw_.device_placement) {
      return false;
    }
    for (std::size_t i = 0; i < a.rank(); ++i) {
      if (a.raw_.shape[i] != b.raw_.shape[i]) return false;
    }
    return true;
  }
  friend bool operator!=(const spec& a, const spec& b) noexcept { return !(a == b); }

 private:
  // The library's may be larger or smaller than this header's.
  explicit spec(const gpubuf_spec& raw) noexcept {
    std::memcpy(&raw_, &raw, raw.struct_size < sizeof raw_ ? raw.struct_size : sizeof raw_);
    raw_.struct_size = static_cast<std::uint32_t>(sizeof raw_);
  }
  std::size_t rank() const noexcept { return raw_.rank < GPUBUF_MAX_RANK ? raw_.rank : GPUBUF_MAX_RANK; }
  gpubuf_spec raw_{};
};

/// What is the case with an entry of a workspace.
enum class entry_state : std::uint32_t {
  free = GPUBUF_ENTRY_FREE, allocated = GPUBUF_ENTRY_ALLOCATED, staged = GPUBUF_ENTRY_STAGED, in_use = GPUBUF_ENTRY_IN_USE,
};

/// Buffers by name, whose content stays, and buffers by spec alone, which go from one holder to the next.
///
///     auto scratch = gpubuf::workspace::create(device);
///     auto table = scratch.get("block_table", gpubuf::spec::of<std::int32_t>({256, 128}));  // made once, found afterwards
///     {
///       auto logits = scratch.allocate(gpubuf::spec::of<float>({256, 32000}));
///       ...
///     }  // free for the next who needs such a one, when the work that uses it is done
///
/// What get(), find() and allocate() give is a buffer like any other, and holds its entry until it ends. Entries that nobody
/// holds are free: they make room for others where the workspace has limits, those that are free longest first.
/// Threads: any. Waits: as each says, up to its timeout.
class workspace : public detail::owner<workspace, gpubuf_workspace, gpubuf_workspace_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, workspace> create(const device& on, const gpubuf_workspace_options& options) noexcept(quiet<Form>) {
    return detail::make<Form, workspace>(gpubuf_workspace_create, on.capi(), &options);
  }
  /// Without limits.
  template <class Form = throwing>
  static outcome<Form, workspace> create(const device& on) noexcept(quiet<Form>) {
    return detail::make<Form, workspace>(gpubuf_workspace_create, on.capi(), nullptr);
  }

  /// The buffer of this very name, made zeroed where there is none (exists: the name is of another spec; budget).
  template <class Form = throwing>
  outcome<Form, buffer> get(const char* name, const spec& what, timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return detail::make<Form, buffer>(gpubuf_workspace_get, capi(), name, &what.capi(), wait.capi());
  }
  template <class T, class Form = throwing>
  outcome<Form, buffer> get(const char* name, const extents& shape, timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return get<Form>(name, spec::of<T>(shape), wait);
  }
  /// The same where there is one (not_found).
  template <class Form = throwing>
  outcome<Form, buffer> find(const char* name, timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return detail::make<Form, buffer>(gpubuf_workspace_find, capi(), name, wait.capi());
  }
  /// A buffer for you alone, every earlier use of it over (budget, busy, timeout). Its bytes mean nothing.
  template <class Form = throwing>
  outcome<Form, buffer> allocate(const spec& what, timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return detail::make<Form, buffer>(gpubuf_workspace_allocate, capi(), &what.capi(), 0u, nullptr, wait.capi());
  }
  /// The same, zeroed: the device side in the order of the stream, so that work elsewhere has to be ordered behind it.
  template <class Form = throwing>
  outcome<Form, buffer> allocate_zeroed(const spec& what, const stream& on, timeout wait = timeout_default) const noexcept(quiet<Form>) {
    return detail::make<Form, buffer>(gpubuf_workspace_allocate, capi(), &what.capi(), 1u, on.capi(), wait.capi());
  }
  /// Ends a buffer of this workspace as its destructor does, and tells where it could not be used again (unfenced, busy,
  /// graph_held): then it stays as it is.
  template <class Form = throwing>
  outcome<Form> give_back(buffer& held) const noexcept(quiet<Form>) {
    const gpubuf_status code = gpubuf_workspace_release(capi(), held.capi());
    if (code == GPUBUF_OK) static_cast<void>(held.release());
    return detail::done<Form>(code);
  }
  /// The name is free for another spec at once, its memory for reuse when its last holder ends (not_found).
  template <class Form = throwing>
  outcome<Form> release_name(const char* name) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_workspace_release_name(capi(), name));
  }
  /// Takes out free entries, those that are free longest first, until no more than this is left. Returns how many went.
  template <class Form = throwing>
  outcome<Form, std::uint64_t> evict(std::uint64_t max_entries, std::uint64_t max_bytes = all) const noexcept(quiet<Form>) {
    return detail::get<Form, std::uint64_t>(gpubuf_workspace_evict, capi(), max_entries, max_bytes);
  }
  struct cleared {
    std::uint64_t gone = 0;
    std::uint64_t kept = 0;
  };
  /// Takes out every free entry, and leaves those that are held.
  template <class Form = throwing>
  outcome<Form, cleared> clear() const noexcept(quiet<Form>) {
    cleared out;
    const gpubuf_status code = gpubuf_workspace_clear(capi(), &out.gone, &out.kept);
    return detail::give<Form>(code, out);
  }

  /// Queues what is newer on one side of a buffer to the other, for every entry that is held or has a name. Returns how many
  /// had something to move. What is refused (busy, conflict, unfenced) is told when all others are done.
  template <class Form = throwing>
  outcome<Form, std::uint64_t> sync_all(const stream& on) const noexcept(quiet<Form>) {
    return detail::get<Form, std::uint64_t>(gpubuf_workspace_sync_all, capi(), on.capi());
  }

  /// One entry.
  struct entry {
    std::string name;  ///< Empty: it has none.
    gpubuf::spec spec;
    entry_state state;
    std::uint64_t bytes;     ///< Of both sides.
    std::uint64_t holders;
    std::uint64_t uses;      ///< How often it was given out.
    std::uint64_t last_use;  ///< The higher, the later.
  };
  /// Every entry, in the order in which they were made.
  template <class Form = throwing>
  outcome<Form, std::vector<entry>> list() const noexcept(quiet<Form>) {
    struct listing {
      std::vector<entry> entries;
      bool whole = true;
    } out;
    gpubuf_status code = gpubuf_workspace_list(capi(), [](const gpubuf_workspace_entry* e, void* into) noexcept {
      auto& to = *static_cast<listing*>(into);
      try {
        to.entries.push_back({e->name == nullptr ? "" : e->name, gpubuf::spec::from_capi(*e->spec),
                              static_cast<entry_state>(e->state), e->bytes, e->holders, e->uses, e->last_use});
      } catch (...) {
        to.whole = false;
      }
    }, &out);
    if (!out.whole) {
      out.entries.clear();
      code = GPUBUF_OUT_OF_HOST_MEMORY;
    }
    return detail::give<Form>(code, std::move(out.entries), out.whole ? detail::reason() : detail::reason("no memory for the list"));
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_workspace_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_workspace_stats>(gpubuf_workspace_stats_get, capi());
  }
};

}  // namespace gpubuf

template <>
struct std::hash<gpubuf::spec> {
  std::size_t operator()(const gpubuf::spec& what) const noexcept { return what.hash(); }
};

#endif  // GPUBUF_HPP_WORKSPACE_HPP
