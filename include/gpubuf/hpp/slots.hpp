// Input slots, steps, read-backs. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_SLOTS_HPP
#define GPUBUF_HPP_SLOTS_HPP

#include <gpubuf/hpp/buffer.hpp>
#include <gpubuf/hpp/pool.hpp>
#include <gpubuf/hpp/predictor.hpp>
#include <gpubuf/hpp/tiers.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <string>
#include <utility>

namespace gpubuf {

/// A slot by number, with what its rows look like. Plain data. std::byte sees a slot of any dtype as bytes.
template <class T>
struct slot {
  std::uint32_t index = 0;
  std::uint64_t rows = 0;          ///< The most that one step may write.
  std::uint64_t row_elements = 0;  ///< Values of T in one row.
};

/// Rows of one slot, of many that step::write_many stages in one call. The rows are the caller's, until that call.
class slot_rows {
 public:
  template <class T>
  slot_rows(slot<T> to, gpubuf::span<const detail::identity_t<T>> rows, std::uint64_t first_row = 0) noexcept
      : whole_(to.row_elements != 0 && rows.size() % to.row_elements == 0) {
    capi_.slot = to.index;
    capi_.first_row = first_row;
    capi_.row_count = whole_ ? rows.size() / to.row_elements : 0;
    capi_.rows = rows.data();
  }
  const gpubuf_slot_rows& capi() const noexcept { return capi_; }
  bool is_whole() const noexcept { return whole_; }

 private:
  gpubuf_slot_rows capi_{};
  bool whole_;
};

/// A copy of device bytes on its way to the host. Take it with wait(); end() or the destructor frees its entry, waited
/// for or not. Move-only; for one thread at a time.
template <class T>
class [[nodiscard]] readback {
 public:
  readback() noexcept = default;
  readback(gpubuf_slots* of, read_ticket id) noexcept : of_(of), id_(id) {}
  readback(readback&& other) noexcept { *this = std::move(other); }
  readback& operator=(readback&& other) noexcept {
    if (this != &other) {
      reset();
      of_ = std::exchange(other.of_, nullptr);
      id_ = other.id_;
    }
    return *this;
  }
  ~readback() { reset(); }

  /// Waits for the copy; the elements are there until end(). May be called again. Only of a read-back with a name: one
  /// that is a temporary ends with its expression, and the elements with it.
  template <class Form = throwing>
  outcome<Form, span<const T>> wait(timeout limit = timeout_default) & noexcept(quiet<Form>) {
    if (of_ == nullptr) {
      return detail::give<Form>(GPUBUF_NOT_BEGUN, span<const T>(), "wait for a read-back that was never queued, or was ended before");
    }
    const void* data = nullptr;
    std::uint64_t bytes = 0;
    const gpubuf_status code = gpubuf_slots_begin_read(of_, detail::number(id_), limit.capi(), &data, &bytes);
    return detail::give<Form>(code, span<const T>(static_cast<const T*>(data), static_cast<std::size_t>(bytes / sizeof(T))));
  }
  template <class Form = throwing>
  outcome<Form, span<const T>> wait(timeout limit = timeout_default) && = delete;
  /// Frees the entry, once.
  template <class Form = throwing>
  outcome<Form> end() noexcept(quiet<Form>) {
    if (of_ == nullptr) return detail::done<Form>(GPUBUF_NOT_BEGUN, "end of a read-back that was never queued, or was ended before");
    return detail::done<Form>(close());
  }
  read_ticket capi() const noexcept { return id_; }
  explicit operator bool() const noexcept { return of_ != nullptr; }

 private:
  void reset() noexcept {
    if (of_ != nullptr) detail::ignore(close());
  }
  gpubuf_status close() noexcept {
    return gpubuf_slots_end_read(std::exchange(of_, nullptr), detail::number(id_));
  }
  gpubuf_slots* of_ = nullptr;
  read_ticket id_{};
};

/// One step: filled, committed, and retired when the work that reads it is queued.
///
/// Move it to whoever launches: its end is the step's end. Every stream that reads the slots must be among the
/// `consumers` of commit() or be named in retire({...}): the library sees no launches. The destructor aborts a step that is
/// being filled, and retires a committed one, which fences the declared consumers and the commit stream and no other. It
/// neither throws nor waits, so an exception half way leaves nothing behind; a step that was retired elsewhere, by its
/// ticket, is let go silently. Threads: one at a time, any.
class [[nodiscard]] step : public detail::owner<step, gpubuf_step, gpubuf_step_destroy> {
 public:
  /// Copies whole rows, as many as `rows` holds, from `first_row` on.
  template <class Form = throwing, class T>
  outcome<Form> write(slot<T> to, gpubuf::span<const detail::identity_t<T>> rows,
                      std::uint64_t first_row = 0) noexcept(quiet<Form>) {
    const bool whole = to.row_elements != 0 && rows.size() % to.row_elements == 0;
    if (!whole) {
      return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, detail::reason(detail::reason::rows, rows.size(), to.row_elements));
    }
    return detail::done<Form>(gpubuf_step_write(capi(), to.index, first_row, rows.size() / to.row_elements, rows.data()));
  }
  template <class Form = throwing, class T>
  outcome<Form> write(slot<T> to, std::initializer_list<detail::identity_t<T>> rows,
                      std::uint64_t first_row = 0) noexcept(quiet<Form>) {
    return write<Form>(to, gpubuf::span<const T>(rows.begin(), rows.size()), first_row);
  }
  /// Copies rows into up to 64 slots, one entry after the other; all is checked before anything is written. With `tokens`,
  /// each slot that follows the tokens has to have so many rows afterwards.
  template <class Form = throwing>
  outcome<Form> write_many(gpubuf::span<const slot_rows> list, std::uint64_t tokens = all) noexcept(quiet<Form>) {
    gpubuf_slot_rows entries[64];
    if (list.size() > std::size(entries)) {
      return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, "more than 64 entries in one write_many");
    }
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (!list[i].is_whole()) return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, "an entry of write_many is not of whole rows");
      entries[i] = list[i].capi();
    }
    return detail::done<Form>(gpubuf_step_write_many(capi(), entries, list.size(), tokens));
  }
  template <class Form = throwing>
  outcome<Form> write_many(std::initializer_list<slot_rows> list, std::uint64_t tokens = all) noexcept(quiet<Form>) {
    return write_many<Form>(gpubuf::span<const slot_rows>(list.begin(), list.size()), tokens);
  }
  /// Rows to be filled in place; the guard must end before commit.
  template <class Form = throwing, class T>
  outcome<Form, write_guard<T>> span(slot<T> of, std::uint64_t first_row = 0, std::uint64_t rows = all) noexcept(quiet<Form>) {
    if (rows == all) rows = first_row < of.rows ? of.rows - first_row : 0;
    void* data = nullptr;
    std::uint64_t token = 0;
    const gpubuf_status code = gpubuf_step_begin_span(capi(), of.index, first_row, rows, &data, &token);
    if (code != GPUBUF_OK) return detail::give<Form>(code, write_guard<T>());
    const gpubuf::span<T> elements(static_cast<T*>(data), static_cast<std::size_t>(rows * of.row_elements));
    const auto end = [](void* self, std::uint64_t t) { return gpubuf_step_end_span(static_cast<gpubuf_step*>(self), t); };
    return detail::give<Form>(GPUBUF_OK, write_guard<T>(elements, capi(), token, end));
  }
  /// Rows from the written ones up to `row_count` get the slot's pad value.
  template <class Form = throwing, class T>
  outcome<Form> pad(slot<T> to, std::uint64_t row_count) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_step_pad(capi(), to.index, row_count));
  }
  /// Pads every slot that follows the tokens, from its written rows up to slots::padded_size of the longest. Returns that.
  template <class Form = throwing>
  outcome<Form, std::uint64_t> pad_tokens() noexcept(quiet<Form>) {
    std::uint64_t padded = 0;
    const gpubuf_status code = gpubuf_step_pad_tokens(capi(), &padded);
    return detail::give<Form>(code, std::move(padded));
  }
  /// Binds a dynamic slot, for this step, to `rows` rows of the caller's device memory, which is ready when the work queued
  /// so far on `writers` is done: the step comes behind it. Keep the memory until the step's consumers are done.
  template <class Form = throwing, class T>
  outcome<Form> bind(slot<T> to, address at, std::uint64_t rows, const stream_list& writers = {}) noexcept(quiet<Form>) {
    const std::uint64_t row_bytes = to.row_elements * sizeof(T);
    const std::uint64_t bytes = row_bytes != 0 && rows > all / row_bytes ? all : rows * row_bytes;
    return detail::done<Form>(gpubuf_step_bind(capi(), to.index, at, bytes, writers.capi(), writers.size()));
  }
  /// Binds a dynamic slot, for this step, to bytes of a block that kernels can use. The block is not given back before the step
  /// is retired, and not written between commit and retire; its consumers only read it.
  template <class Form = throwing, class T>
  outcome<Form> bind(slot<T> to, const block& from, std::uint64_t offset = 0, std::uint64_t bytes = all) noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_step_bind_block(capi(), to.index, from.capi(), offset, bytes));
  }
  /// A slot's address for this step's kernels: from commit to retire; of a dynamic slot from its binding on.
  template <class Form = throwing, class T>
  outcome<Form, address> device_address(slot<T> of) const noexcept(quiet<Form>) {
    address at = 0;
    const gpubuf_status code = gpubuf_step_address(capi(), of.index, &at);
    return detail::give<Form>(code, std::move(at));
  }
  /// Queues the step's copy on a stream. Later work of that stream and of the consumers reads this step's rows, and
  /// waits for it. Name every stream that will read them, here or in retire(): the end of the scope fences these alone.
  /// not_retired: the step that has the copy of the device memory is not retired yet; with one copy, the previous step.
  template <class Form = throwing>
  outcome<Form, ticket> commit(const stream& on, const stream_list& consumers = {}) noexcept(quiet<Form>) {
    std::uint64_t number = 0;
    const gpubuf_status code = gpubuf_step_commit(capi(), on.capi(), consumers.capi(), consumers.size(), &number);
    if (code == GPUBUF_OK) ticket_ = ticket{number};
    return detail::give<Form>(code, ticket{number});
  }
  /// The work that reads this step is queued: on the consumers declared at commit, and on these streams. Ends the step.
  template <class Form = throwing>
  outcome<Form> retire(const stream_list& streams = {}) noexcept(quiet<Form>) {
    return gone<Form>(gpubuf_step_retire(capi(), streams.capi(), streams.size()));
  }
  /// As if begun never. Ends the step.
  template <class Form = throwing>
  outcome<Form> abort() noexcept(quiet<Form>) { return gone<Form>(gpubuf_step_abort(capi())); }
  /// The ticket, once this object has committed the step; 0 before, after a move, and for a handle that was adopted.
  ticket id() const noexcept { return ticket_; }

  step() noexcept = default;
  step(step&& other) noexcept : owner(std::move(other)), ticket_(std::exchange(other.ticket_, {})) {}
  step& operator=(step&& other) noexcept {
    if (this != &other) {
      owner::operator=(std::move(other));
      ticket_ = std::exchange(other.ticket_, {});
    }
    return *this;
  }

 private:
  friend class slots;
  template <class Form>
  outcome<Form> gone(gpubuf_status code) noexcept(quiet<Form>) {
    if (code == GPUBUF_OK) handle_ = nullptr;
    return detail::done<Form>(code);
  }
  ticket ticket_{};
};

/// The inputs of a step: named slots, packed in one device block whose addresses never change after freeze(), so that
/// graphs may bake them in, and a ring of pinned entries so that step n+1 is filled while the device works on step n. With
/// a device_depth of 2 to 4 there are so many copies of the block, taken in turn, and step n+1 is sent meanwhile, too.
///
///     auto ids = slots.add<std::int32_t>("input_ids", {8192});
///     slots.freeze();
///     auto step = slots.begin();
///     step.write(ids, tokens);
///     step.commit(copies, {compute});  // one copy; every stream that reads the slots is named here ...
///     launch(compute);                 // your kernels or graph
///                                      // ... or in step.retire({...}): the end of the scope fences what commit named
///
/// Threads: any; a step is for one thread at a time, and several may be filled at once.
class slots : public detail::owner<slots, gpubuf_slots, gpubuf_slots_destroy> {
 public:
  template <class Form = throwing>
  static outcome<Form, slots> create(const device& on,
                                     const gpubuf_slots_options& options = slots_options()) noexcept(quiet<Form>) {
    return detail::make<Form, slots>(gpubuf_slots_create, on.capi(), &options);
  }
  /// With the slots of a decoder: input_ids, positions, query_start_loc, seq_lens, slot_mapping, temperature, top_k,
  /// top_p, seeds, block_table. More may be added before freeze(). The options name what the memory is taken from (a workspace,
  /// tiers, or tiers that are made here), and have a predictor made that records each step: see tiers() and predictor().
  template <class Form = throwing>
  static outcome<Form, slots> create_decode(const device& on,
                                            const gpubuf_decode_options& options = decode_options()) noexcept(quiet<Form>) {
    return detail::make<Form, slots>(gpubuf_slots_create_decode, on.capi(), &options);
  }

  /// A slot of at most `shape`, whose first extent is the rows. `follows_tokens`: it has a row for each token of a step.
  template <class T, class Form = throwing>
  outcome<Form, slot<T>> add(const char* name, const extents& shape, slot_kind kind = slot_kind::required,
                             detail::identity_t<T> pad = T{},
                             bool own_copy = false, bool follows_tokens = false) noexcept(quiet<Form>) {
    slot_options options;
    options.dtype = detail::number(dtype_of<T>::value);
    options.kind = detail::number(kind);
    options.own_copy = own_copy ? 1 : 0;
    options.follows_tokens = follows_tokens ? 1 : 0;
    options.pad_value = kind == slot_kind::dynamic ? nullptr : &pad;
    options.name = name;
    shape.put(options);
    return add_raw<T, Form>(options);
  }
  /// From the options of the C API, for dtypes without a C++ type.
  template <class T = std::byte, class Form = throwing>
  outcome<Form, slot<T>> add_raw(const gpubuf_slot_options& options) noexcept(quiet<Form>) {
    if (!detail::matches<T>(options.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, slot<T>(), detail::mismatch<T>(options.dtype));
    }
    slot<T> made{0, options.shape[0], gpubuf_dtype_size(options.dtype) / sizeof(T)};
    for (std::uint32_t i = 1; i < options.rank && i < GPUBUF_MAX_RANK; ++i) made.row_elements *= options.shape[i];
    const gpubuf_status code = gpubuf_slots_add(capi(), &options, &made.index);
    return detail::give<Form>(code, std::move(made));
  }
  /// No more slots from here on; addresses are final, and steps may begin.
  template <class Form = throwing>
  outcome<Form> freeze() noexcept(quiet<Form>) { return detail::done<Form>(gpubuf_slots_freeze(capi())); }
  /// After freeze(). T must be the slot's element type (invalid_argument), or std::byte.
  template <class T = std::byte, class Form = throwing>
  outcome<Form, slot<T>> find(const char* name) const noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_slot_info>();
    std::uint32_t index = 0;
    gpubuf_status code = gpubuf_slots_find(capi(), name, &index);
    if (code == GPUBUF_OK) code = gpubuf_slots_slot_info(capi(), index, &about);
    if (code != GPUBUF_OK) return detail::give<Form>(code, slot<T>());
    if (!detail::matches<T>(about.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, slot<T>(), detail::mismatch<T>(about.dtype));
    }
    return detail::give<Form>(GPUBUF_OK, slot<T>{index, about.rows, about.row_bytes / sizeof(T)});
  }
  template <class Form = throwing, class T>
  outcome<Form, gpubuf_slot_info> info(slot<T> of) const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_slot_info>(gpubuf_slots_slot_info, capi(), of.index);
  }
  /// Constant after freeze(), in each copy of the device memory. Step n, from 1, has copy (n - 1) modulo device_depth.
  template <class Form = throwing, class T>
  outcome<Form, address> device_address(slot<T> of, std::uint32_t copy = 0) const noexcept(quiet<Form>) {
    address at = 0;
    const gpubuf_status code = gpubuf_slots_device_address(capi(), of.index, copy, &at);
    return detail::give<Form>(code, std::move(at));
  }
  /// How many slots there are: slot<>{number} stands for each of them in info() and name().
  template <class Form = throwing>
  outcome<Form, std::uint32_t> count() const noexcept(quiet<Form>) {
    std::uint32_t count = 0;
    const gpubuf_status code = gpubuf_slots_slot_count(capi(), &count);
    return detail::give<Form>(code, std::move(count));
  }
  /// A slot's name, after freeze(). Throws std::bad_alloc in both forms.
  template <class Form = throwing, class T>
  outcome<Form, std::string> name(slot<T> of) const {
    std::size_t length = 0;
    gpubuf_status code = gpubuf_slots_slot_name(capi(), of.index, nullptr, 0, &length);
    std::string text(length, '\0');
    if (code == GPUBUF_OK) code = gpubuf_slots_slot_name(capi(), of.index, text.data(), length + 1, nullptr);
    return detail::give<Form>(code, std::move(text));
  }
  /// The number of tokens that a step of so many is padded to: the next size that graphs were captured for.
  template <class Form = throwing>
  outcome<Form, std::uint64_t> padded_size(std::uint64_t tokens) const noexcept(quiet<Form>) {
    std::uint64_t padded = 0;
    const gpubuf_status code = gpubuf_slots_padded_size(capi(), tokens, &padded);
    return detail::give<Form>(code, std::move(padded));
  }
  /// The tiers that the memory comes from: those of the options, or those that were made for `tiered` (unsupported: neither).
  template <class Form = throwing>
  outcome<Form, gpubuf::tiers> tiers() const noexcept(quiet<Form>) {
    return detail::make<Form, gpubuf::tiers>(gpubuf_slots_tiers, capi());
  }
  /// The predictor that was made for `predictive` (unsupported: none). Its sizes are padded numbers of tokens, one for each
  /// step that was committed.
  template <class Form = throwing>
  outcome<Form, gpubuf::predictor> predictor() const noexcept(quiet<Form>) {
    return detail::make<Form, gpubuf::predictor>(gpubuf_slots_predictor, capi());
  }
  /// step::write of the slot of that name, whose element type must be T (invalid_argument), or std::byte.
  template <class T, class Form = throwing>
  outcome<Form> write(step& to, const char* name, gpubuf::span<const T> rows, std::uint64_t first_row = 0) const noexcept(quiet<Form>) {
    const auto found = find<T, no_throw>(name);
    if (!found) return detail::done<Form>(detail::number(found.status()), detail::passed_on::why(found));
    const bool whole = found->row_elements != 0 && rows.size() % found->row_elements == 0;
    if (!whole) {
      return detail::done<Form>(GPUBUF_INVALID_ARGUMENT, detail::reason(detail::reason::rows, rows.size(), found->row_elements));
    }
    return detail::done<Form>(gpubuf_step_write_named(to.capi(), name, first_row, rows.size() / found->row_elements, rows.data()));
  }
  /// Gives up every step that is being filled; what is committed stays to be retired. Returns how many there were. The step
  /// objects are stale then; letting them go is fine.
  template <class Form = throwing>
  outcome<Form, std::uint32_t> abort_all() const noexcept(quiet<Form>) {
    std::uint32_t aborted = 0;
    const gpubuf_status code = gpubuf_slots_abort_all(capi(), &aborted);
    return detail::give<Form>(code, std::move(aborted));
  }

  /// An entry to fill. Waits for the copy that still reads it (busy, timeout).
  template <class Form = throwing>
  outcome<Form, step> begin(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    step made;
    const gpubuf_status code = gpubuf_slots_begin(capi(), wait.capi(), &made.handle_);
    return detail::give<Form>(code, std::move(made));
  }
  /// The same, of a step that a graph reads: nothing can be bound in it, and nothing needs to be.
  template <class Form = throwing>
  outcome<Form, step> begin_replay(timeout wait = timeout_default) const noexcept(quiet<Form>) {
    step made;
    const gpubuf_status code = gpubuf_slots_begin_replay(capi(), wait.capi(), &made.handle_);
    return detail::give<Form>(code, std::move(made));
  }
  /// step::retire for who has the ticket alone.
  template <class Form = throwing>
  outcome<Form> retire(ticket committed, const stream_list& streams = {}) const noexcept(quiet<Form>) {
    return detail::done<Form>(gpubuf_slots_retire(capi(), detail::number(committed), streams.capi(), streams.size()));
  }
  /// Queues a copy of a slot's rows back to the host; between commit and retire.
  template <class Form = throwing, class T>
  outcome<Form, readback<T>> read_back(ticket committed, slot<T> from, const stream& on, std::uint64_t first_row = 0,
                                       std::uint64_t rows = all) const noexcept(quiet<Form>) {
    std::uint64_t id = 0;
    const gpubuf_status code = gpubuf_slots_read_back(capi(), detail::number(committed), from.index, first_row, rows, on.capi(), &id);
    return detail::give<Form>(code, readback<T>(code == GPUBUF_OK ? capi() : nullptr, read_ticket{id}));
  }
  /// The same from a buffer's device side, such as the sampled tokens. T as in buffer::begin_read.
  template <class T, class Form = throwing>
  outcome<Form, readback<T>> read_back(ticket committed, const buffer& from, const stream& on, std::uint64_t first = 0,
                                       std::uint64_t count = all) const noexcept(quiet<Form>) {
    auto about = detail::sized<gpubuf_buffer_info>();
    gpubuf_status code = gpubuf_buffer_info_get(from.capi(), &about);
    if (code != GPUBUF_OK) return detail::give<Form>(code, readback<T>());
    if (!detail::matches<T>(about.dtype)) {
      return detail::give<Form>(GPUBUF_INVALID_ARGUMENT, readback<T>(), detail::mismatch<T>(about.dtype));
    }
    std::uint64_t id = 0;
    code = gpubuf_slots_read_back_buffer(capi(), detail::number(committed), from.capi(), first, count, on.capi(), &id);
    return detail::give<Form>(code, readback<T>(code == GPUBUF_OK ? capi() : nullptr, read_ticket{id}));
  }
  template <class Form = throwing>
  outcome<Form, gpubuf_slots_stats> stats() const noexcept(quiet<Form>) {
    return detail::about<Form, gpubuf_slots_stats>(gpubuf_slots_stats_get, capi());
  }
};

}  // namespace gpubuf

#endif  // GPUBUF_HPP_SLOTS_HPP
