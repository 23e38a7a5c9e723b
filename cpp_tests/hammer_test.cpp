// Many threads at once through the wrapper, with random delays: what each has written is what streams and the CPU see, and at
// the end everything comes back. In full: tests/hammer.rs. GPUBUF_STRESS_SEED and GPUBUF_STRESS_STEPS set seed and length.
#include "support.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <iostream>
#include <random>
#include <thread>

using gpubuf::access;
using gpubuf::no_throw;
using gpubuf::placement;
using gpubuf::status;
namespace host = gpubuf::host;

namespace {

constexpr std::uint64_t bytes = 512;
using values = std::vector<std::uint8_t>;

std::uint64_t number(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct random_numbers {
  std::mt19937_64 engine;
  std::uint64_t below(std::uint64_t limit) { return engine() % limit; }
  std::uint8_t value() { return static_cast<std::uint8_t>(engine()); }
};

bool is_whole(const values& found) {
  return std::all_of(found.begin(), found.end(), [&](std::uint8_t one) { return one == found[0]; });
}

class Hammer : public test::Device {
 protected:
  const std::uint64_t seed = number("GPUBUF_STRESS_SEED", 20'231'116);
  const std::uint64_t rounds = std::max<std::uint64_t>(number("GPUBUF_STRESS_STEPS", 3000) / 20, 10);
  const std::vector<gpubuf::stream> streams = make_streams();
  std::atomic<std::uint64_t> looks{0}, wrong{0};
  std::atomic<bool> working{true};

  void SetUp() override {
    std::cout << "seed " << seed << ", " << rounds << " rounds" << std::endl;
    host::set_delay(device, {}, seed, std::chrono::microseconds(20));
    host::set_link(device, std::chrono::microseconds(2), 10'000'000'000);
  }
  std::vector<gpubuf::stream> make_streams() {
    std::vector<gpubuf::stream> made;
    for (int i = 0; i < 3; ++i) made.push_back(gpubuf::stream::create(device));
    return made;
  }
  const gpubuf::stream& any_stream(random_numbers& random) const { return streams[random.below(streams.size())]; }

  /// The stream is to see these bytes there.
  void look(const gpubuf::stream& on, gpubuf::address at, values expected) {
    host::call(on, [this, at, wanted = std::move(expected)](host::view& memory) {
      values found(wanted.size());
      memory.read(at, found.data(), found.size());
      wrong += found != wanted;
      ++looks;
    });
  }
  /// Bytes that are all the same, whichever they are.
  void look_whole(const gpubuf::stream& on, gpubuf::address at) {
    host::call(on, [this, at](host::view& memory) {
      values found(bytes);
      memory.read(at, found.data(), found.size());
      wrong += !is_whole(found);
      ++looks;
    });
  }

  using work = std::function<void(random_numbers&)>;
  /// Each in a thread of its own, a round at a time; the caretaker as long as one of them works.
  void run(const std::vector<work>& workers, const work& caretaker) {
    std::vector<std::thread> threads;
    const auto loop = [this](const work& body, std::uint64_t which, const std::function<bool(std::uint64_t)>& goes_on) {
      random_numbers random{std::mt19937_64(seed + which)};
      try {
        for (std::uint64_t round = 0; goes_on(round) && !HasFailure(); ++round) body(random);
      } catch (const std::exception& thrown) {
        ADD_FAILURE() << "seed " << seed << ", worker " << which << ": " << thrown.what();
      }
    };
    for (std::size_t i = 0; i < workers.size(); ++i) {
      threads.emplace_back([&, i] { loop(workers[i], i + 1, [this](std::uint64_t round) { return round < rounds; }); });
    }
    std::thread other([&] { loop(caretaker, 1000, [this](std::uint64_t) { return working.load(); }); });
    for (std::thread& thread : threads) thread.join();
    working = false;
    other.join();
  }

  /// Everything was destroyed.
  void expect_all_is_back() {
    device.drain();
    EXPECT_EQ(0u, wrong) << "seed " << seed << ": a stream saw bytes that were not meant for it";
    EXPECT_GT(looks, 0u);
    const auto stats = device.stats();
    EXPECT_EQ(0u, stats.host_bytes + stats.pinned_bytes + stats.device_bytes) << "seed " << seed;
    EXPECT_EQ(0u, stats.deferred_bytes + stats.quarantined_bytes + stats.leaked_bytes) << "seed " << seed;
  }
};

/// Whether the call was done; else it was answered one of these.
template <class Result>
bool done(const Result& result, std::initializer_list<status> also) {
  const status code = test::code(result);
  if (code == status::ok) return true;
  EXPECT_TRUE(std::find(also.begin(), also.end(), code) != also.end())
      << gpubuf::status_name(code) << ": " << gpubuf::last_error_message();
  return false;
}

template <class Guard>
void fill(const Guard& guard, std::uint8_t value) { std::fill_n(guard.data(), guard.size(), value); }

}  // namespace

TEST_F(Hammer, EverythingAtOnceIsRightAndComesBack) {
  {
    auto pool = gpubuf::pool::create(device, bytes, 3, placement::uva);
    gpubuf::tiers_options budgets;
    budgets.device_bytes = 2 * bytes;
    budgets.pinned_bytes = 4 * bytes;
    budgets.pageable_bytes = 16 * bytes;
    auto tiers = gpubuf::tiers::create(device, budgets);
    gpubuf::workspace_options limits;
    limits.max_entries = 4;
    auto scratch = gpubuf::workspace::create(device, limits);
    const auto spec = gpubuf::spec::of<std::uint8_t>({bytes});

    const work blocks = [&](random_numbers& random) {
      auto block = pool.acquire();
      const auto& on = any_stream(random);
      const values expected(bytes, random.value());
      block.copy_in(expected);
      look(on, block.device_address(), expected);
      block.release_after(on);
    };

    auto slots = gpubuf::slots::create(device);
    const auto tokens = slots.add<std::uint8_t>("tokens", {bytes});
    slots.freeze();
    const work steps = [&](random_numbers& random) {
      const auto& on = any_stream(random);
      const values expected(bytes, random.value());
      auto step = slots.begin();
      step.write(tokens, expected);
      step.commit(on);
      look(on, step.device_address(tokens), expected);
      step.retire();
    };

    auto rows = gpubuf::staged_rows<std::uint8_t>::create(device, 4, 64, 8);
    values table(4 * 64);
    const work staging = [&](random_numbers& random) {
      const std::uint64_t row = random.below(table.size() / 64), first = random.below(64);
      const values written(static_cast<std::size_t>(1 + random.below(64 - first)), random.value());
      rows.stage(row, first, written);
      std::copy(written.begin(), written.end(), table.begin() + static_cast<std::ptrdiff_t>(row * 64 + first));
      const auto& on = any_stream(random);
      if (random.below(8) == 0 && table.size() < 40 * 64) {
        rows.grow(table.size() / 64 + 2, on);
        table.resize(table.size() + 2 * 64);
      }
      rows.apply(on);
      look(on, rows.device_address({on}), table);
    };

    const auto tiered = [&](std::vector<std::pair<gpubuf::tiered_block, std::uint8_t>>& own) {
      return [&](random_numbers& random) {
        if (own.size() < 3) {
          auto made = tiers.create_block<no_throw>(bytes);
          if (!done(made, {status::budget})) return;
          // Its bytes are those of another's last use.
          auto written = made->begin_write<std::uint8_t, no_throw>();
          if (!done(written, {status::budget})) return;
          fill(*written, 0);
          own.emplace_back(std::move(*made), std::uint8_t{0});
          return;
        }
        auto& [block, value] = own[random.below(own.size())];
        const auto& on = any_stream(random);
        switch (random.below(5)) {
          case 0:
            if (const auto written = block.begin_write<std::uint8_t, no_throw>(); done(written, {status::budget})) {
              fill(*written, value = random.value());
            }
            break;
          case 1:
            if (const auto read = block.begin_read<std::uint8_t, no_throw>(); done(read, {status::budget})) {
              EXPECT_EQ(values(bytes, value), test::copy_of(*read)) << "seed " << seed;
            }
            break;
          case 2: {
            const placement where[] = {placement::device, placement::pinned, placement::pageable};
            done(block.move_to<no_throw>(where[random.below(3)]), {status::budget});
            break;
          }
          default:
            if (const auto use = block.acquire<no_throw>(on); done(use, {status::budget})) {
              look(on, use->device_address(), values(bytes, value));
            }
        }
        if (random.below(40) == 0) own.pop_back();
      };
    };
    std::vector<std::pair<gpubuf::tiered_block, std::uint8_t>> one, two;

    const work buffers = [&](random_numbers& random) {
      const auto& on = any_stream(random);
      if (random.below(3) == 0) {
        // Others have it, too: whoever writes writes all of it.
        auto named = scratch.get<no_throw>("shared", spec);
        if (!done(named, {status::budget})) return;
        if (const auto written = named->begin_write<std::uint8_t, no_throw>(); done(written, {status::busy})) {
          fill(*written, random.value());
        }
        done(named->to_device<no_throw>(on), {status::busy});
        if (const auto read = named->begin_read<std::uint8_t, no_throw>(); done(read, {status::busy})) {
          EXPECT_TRUE(is_whole(test::copy_of(*read))) << "seed " << seed;
        }
        return;
      }
      auto buffer = scratch.allocate_zeroed<no_throw>(spec, on);
      if (!done(buffer, {status::budget})) return;
      look(on, buffer->device_address(on), values(bytes));
      const values expected(bytes, random.value());
      buffer->copy_in(expected);
      buffer->to_device(on);
      look(on, buffer->device_address(on), expected);
    };

    const work upkeep = [&](random_numbers& random) {
      switch (random.below(8)) {
        case 0: device.maintain(); break;
        case 1: tiers.step(); break;
        case 2: scratch.evict(random.below(3)); break;
        case 3: scratch.clear(); break;
        case 4: EXPECT_GT(gpubuf::report(gpubuf::report_format::json).size(), 100u); break;
        case 5: EXPECT_FALSE(gpubuf::describe(tiers).empty() || gpubuf::describe(pool).empty()); break;
        case 6: done(scratch.release_name<no_throw>("shared"), {status::not_found}); break;
        default: EXPECT_LE(scratch.stats().entries, 4u);
      }
      std::this_thread::yield();
    };
    run({blocks, blocks, steps, staging, tiered(one), tiered(two), buffers, buffers}, upkeep);
    EXPECT_EQ(0u, pool.stats().held_blocks);
    EXPECT_EQ(0u, scratch.stats().held_entries);
  }
  expect_all_is_back();
}

TEST_F(Hammer, ASecondThreadInOneObjectIsToldAndDamagesNothing) {
  {
    auto buffer = gpubuf::buffer::create<std::uint8_t>(device, {bytes});
    gpubuf::tiers_options budgets;
    budgets.device_bytes = budgets.pinned_bytes = budgets.pageable_bytes = 2 * bytes;
    auto tiers = gpubuf::tiers::create(device, budgets);
    auto block = tiers.create_block(bytes);
    auto rows = gpubuf::staged_rows<std::uint8_t>::create(device, 4, bytes);

    const work anything = [&](random_numbers& random) {
      const auto& on = any_stream(random);
      const auto open = [&](const auto& write, const auto& read) {
        if (random.below(2) == 0) {
          if (const auto guard = write(); done(guard, {status::busy})) fill(*guard, random.value());
        } else if (const auto guard = read(); done(guard, {status::busy})) {
          EXPECT_TRUE(is_whole(test::copy_of(*guard))) << "seed " << seed;
        }
      };
      switch (random.below(8)) {
        case 0: done(buffer.to_device<no_throw>(on), {status::busy}); break;
        case 1: done(buffer.to_host<no_throw>(on), {status::busy}); break;
        case 2:
          open([&] { return buffer.begin_write<std::uint8_t, no_throw>(); },
               [&] { return buffer.begin_read<std::uint8_t, no_throw>(); });
          break;
        case 3:
          open([&] { return block.begin_write<std::uint8_t, no_throw>(); },
               [&] { return block.begin_read<std::uint8_t, no_throw>(); });
          break;
        case 4:
          if (const auto use = block.acquire<no_throw>(on); done(use, {status::busy})) look_whole(on, use->device_address());
          break;
        case 5: done(block.move_to<no_throw>(placement::pageable), {status::busy}); break;
        case 6: done(rows.stage<no_throw>(random.below(4), 0, values(bytes, random.value())), {status::busy, status::overflow}); break;
        default: done(rows.apply<no_throw>(on), {status::busy});
      }
    };
    run({anything, anything, anything, anything}, [](random_numbers&) { std::this_thread::yield(); });

    // No access was left open.
    EXPECT_OK(buffer.begin_write<std::uint8_t, no_throw>());
    EXPECT_EQ(0u, block.info().holds);
    rows.apply(stream);
    for (std::uint64_t row = 0; row < 4; ++row) look_whole(stream, rows.device_address({stream}) + row * bytes);
    stream.synchronize();
  }
  expect_all_is_back();
}
