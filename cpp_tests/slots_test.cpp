// Input slots: one copy per step from a ring of pinned entries to one device block of constant addresses.
#include "support.hpp"

#include <stdexcept>
#include <thread>

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::slot_kind;
using gpubuf::status;

class Slots : public test::Device {
 protected:
  gpubuf::stream compute = gpubuf::stream::create(device);
  gpubuf::slots slots = gpubuf::slots::create(device);

  /// What the device holds in a slot once the stream has come this far. Not while it is held shut.
  template <class T>
  std::vector<T> on_device(gpubuf::slot<T> slot, std::size_t count) {
    std::vector<T> values(count);
    const gpubuf::address at = slots.device_address(slot);
    gpubuf::host::call(stream, [&](gpubuf::host::view& memory) { memory.read(at, values.data(), count * sizeof(T)); });
    stream.synchronize();
    return values;
  }
};

// ---- Layout -----------------------------------------------------------------------------------------------------

TEST_F(Slots, AreAddedByNameAndFrozen) {
  const auto ids = slots.add<std::int32_t>("input_ids", {100});
  const auto table = slots.add<std::int32_t>("table", {10, 7});
  EXPECT_EQ(100u, ids.rows);
  EXPECT_EQ(1u, ids.row_elements);
  EXPECT_EQ(7u, table.row_elements);
  EXPECT_STATUS(status::exists, slots.add<std::int32_t, no_throw>("table", {1}));
  EXPECT_STATUS(status::frozen, slots.begin<no_throw>()) << "not before freeze";
  EXPECT_STATUS(status::frozen, slots.device_address<no_throw>(table)) << "not final";
  slots.freeze();
  EXPECT_STATUS(status::frozen, slots.add<std::int32_t, no_throw>("late", {1}));
  EXPECT_EQ(table.index, slots.find("table").index);
  EXPECT_EQ(7u, slots.find<std::int32_t>("table").row_elements);
  EXPECT_EQ(28u, slots.find("table").row_elements) << "as bytes";
  EXPECT_STATUS(status::invalid_argument, slots.find<float, no_throw>("table")) << "of another type";
  EXPECT_STATUS(status::not_found, slots.find<std::int32_t, no_throw>("nobody"));
  EXPECT_OK(slots.begin<no_throw>());
}

TEST_F(Slots, LieApartAndAligned) {
  const auto one = slots.add<std::int8_t>("one", {3});
  const auto two = slots.add<double>("two", {5});
  slots.freeze();
  const auto first = slots.info(one), second = slots.info(two);
  EXPECT_EQ(3u, first.bytes);
  EXPECT_EQ(40u, second.bytes);
  EXPECT_EQ(8u, second.row_bytes);
  EXPECT_EQ(0u, first.device_address % 256);
  EXPECT_EQ(0u, second.device_address % 256);
  EXPECT_TRUE(first.offset + first.bytes <= second.offset || second.offset + second.bytes <= first.offset);
}

TEST_F(Slots, AddressesAreConstant) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  const auto at = slots.device_address(slot);
  EXPECT_NE(0u, at);
  for (int i = 0; i < 5; ++i) {
    auto step = slots.begin();
    step.write(slot, {i, i, i, i});
    step.commit(stream);
    EXPECT_EQ(at, slots.device_address(slot));
  }
}

TEST_F(Slots, DtypesWithoutACppTypeAreSeenAsBytes) {
  gpubuf::slot_options options;
  options.name = "half";
  options.dtype = GPUBUF_DTYPE_BF16;
  gpubuf::extents{4, 3}.put(options);
  const auto half = slots.add_raw(options);
  EXPECT_EQ(6u, half.row_elements);
  slots.freeze();
  auto step = slots.begin();
  step.write(half, std::vector<std::byte>(24, std::byte{0x3f}));
  EXPECT_STATUS(status::invalid_argument, step.write<no_throw>(half, std::vector<std::byte>(5))) << "not whole rows";
  step.commit(stream);
  step.retire();
  EXPECT_EQ(std::vector<std::byte>(24, std::byte{0x3f}), on_device(half, 24));
}

TEST_F(Slots, OfADecoderAreReadyMade) {
  gpubuf::decode_options options;
  options.max_batch = 4;
  options.max_tokens = 16;
  options.max_seq_len = 64;
  options.block_size = 16;
  auto decode = gpubuf::slots::create_decode(device, options);
  const auto extra = decode.add<float>("extra", {4}, slot_kind::kept);
  decode.freeze();
  EXPECT_EQ(16u, decode.find<std::int32_t>("input_ids").rows);
  EXPECT_EQ(16u, decode.find<std::int64_t>("positions").rows);
  EXPECT_EQ(5u, decode.find<std::int32_t>("query_start_loc").rows);
  EXPECT_EQ(4u, decode.find<std::int32_t>("seq_lens").rows);
  EXPECT_EQ(16u, decode.find<std::int64_t>("slot_mapping").rows);
  EXPECT_EQ(4u, decode.find<std::int32_t>("block_table").row_elements);
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_SLOT_REQUIRED), decode.info(decode.find("input_ids")).kind);
  for (const char* name : {"temperature", "top_k", "top_p", "seeds", "block_table"}) {
    EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_SLOT_KEPT), decode.info(decode.find(name)).kind) << name;
  }
  EXPECT_EQ(1u, decode.info(decode.find("block_table")).own_copy);
  EXPECT_EQ(4u, extra.rows);
}

// ---- A step -----------------------------------------------------------------------------------------------------

TEST_F(Slots, AStepIsOneCopy) {
  const auto ids = slots.add<std::int32_t>("ids", {16});
  const auto positions = slots.add<std::int64_t>("positions", {16});
  const auto lengths = slots.add<std::int32_t>("lengths", {4});
  slots.freeze();
  const auto before = slots.stats();
  auto step = slots.begin();
  step.write(ids, {1, 2, 3});
  step.write(positions, {10, 11, 12});
  step.write(lengths, {3});
  step.commit(stream);
  step.retire();
  EXPECT_EQ((std::vector<std::int32_t>{1, 2, 3}), on_device(ids, 3));
  EXPECT_EQ((std::vector<std::int64_t>{10, 11, 12}), on_device(positions, 3));
  const auto stats = slots.stats();
  EXPECT_EQ(before.copies + 1, stats.copies);
  EXPECT_EQ(before.fences_recorded + 1, stats.fences_recorded);
  EXPECT_EQ(before.host_waits, stats.host_waits);
  EXPECT_EQ(1u, stats.steps_committed);
  EXPECT_EQ(1u, stats.steps_retired);
}

TEST_F(Slots, RowsAreWrittenInPartsOrInPlace) {
  const auto table = slots.add<std::int32_t>("table", {4, 2});
  slots.freeze();
  auto step = slots.begin();
  step.write(table, {1, 2, 3, 4});
  step.write(table, {5, 6}, 2);
  {
    auto row = step.span(table, 3, 1);
    ASSERT_EQ(2u, row.size());
    row[0] = 7;
    row[1] = 8;
    EXPECT_STATUS(status::busy, step.commit<no_throw>(stream)) << "a span is open";
  }
  step.commit(stream);
  step.retire();
  EXPECT_EQ(test::ramp<std::int32_t>(8, 1), on_device(table, 8));
}

TEST_F(Slots, RowsOutsideAreRefused) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto step = slots.begin();
  EXPECT_STATUS(status::invalid_argument, step.write<no_throw>(slot, test::ramp<std::int32_t>(5)));
  EXPECT_STATUS(status::invalid_argument, step.write<no_throw>(slot, {1}, 4));
  EXPECT_STATUS(status::invalid_argument, step.span<no_throw>(slot, 3, 2));
  EXPECT_STATUS(status::invalid_argument, step.pad<no_throw>(slot, 5));
  EXPECT_FALSE(gpubuf::status::ok == step.write<no_throw>(gpubuf::slot<std::int32_t>{99, 4, 1}, {1})) << "no such slot";
}

TEST_F(Slots, PadFillsUpWithThePadValue) {
  const auto mapping = slots.add<std::int64_t>("mapping", {8}, slot_kind::required, -1);
  slots.freeze();
  for (std::int64_t round = 0; round < 3; ++round) {
    auto step = slots.begin();
    step.write(mapping, {round, round + 1});
    step.pad(mapping, 6);
    step.commit(stream);
    step.retire();
    EXPECT_EQ((std::vector<std::int64_t>{round, round + 1, -1, -1, -1, -1}), on_device(mapping, 6));
  }
}

TEST_F(Slots, ARequiredSlotMustBeWrittenInEachStep) {
  const auto one = slots.add<std::int32_t>("one", {4});
  const auto two = slots.add<std::int32_t>("two", {4});
  slots.freeze();
  auto step = slots.begin();
  step.write(one, {1});
  EXPECT_STATUS(status::slot_unwritten, step.commit<no_throw>(stream));
  EXPECT_NE(std::string::npos, gpubuf::last_error_message().find("two")) << gpubuf::last_error_message();
  step.write(two, {2});
  EXPECT_OK(step.commit<no_throw>(stream)) << "a refused commit may be tried again";
}

TEST_F(Slots, KeptRowsStay) {
  const auto id = slots.add<std::int32_t>("id", {1});
  const auto kept = slots.add<float>("kept", {4}, slot_kind::kept);
  slots.freeze();
  const auto run = [&](auto fill) {
    auto step = slots.begin();
    step.write(id, {1});
    fill(step);
    step.commit(stream);
  };
  run([&](auto& step) { step.write(kept, {1, 2, 3, 4}); });
  run([&](auto&) {});
  run([&](auto& step) { step.write(kept, {20}, 1); });
  for (int i = 0; i < 4; ++i) run([&](auto&) {});  // As many as the ring is deep, and more.
  run([&](auto& step) { step.write(kept, {40}, 3); });
  EXPECT_EQ((std::vector<float>{1, 20, 3, 40}), on_device(kept, 4));
}

TEST_F(Slots, ATableWithItsOwnCopyKeepsItsRowsToo) {
  const auto id = slots.add<std::int32_t>("id", {1});
  const auto table = slots.add<std::int32_t>("table", {64, 8}, slot_kind::kept, 0, true);
  slots.freeze();
  std::vector<std::int32_t> expected(64 * 8);
  for (std::int32_t round = 0; round < 12; ++round) {
    auto step = slots.begin();
    step.write(id, {round});
    for (const std::uint64_t row : {static_cast<std::uint64_t>(round * 5 % 64), static_cast<std::uint64_t>((round * 31 + 7) % 64)}) {
      const auto values = test::ramp<std::int32_t>(8, round * 1000 + static_cast<std::int32_t>(row));
      step.write(table, values, row);
      std::copy(values.begin(), values.end(), expected.begin() + static_cast<std::ptrdiff_t>(row * 8));
    }
    step.commit(stream);
    step.retire();
    ASSERT_EQ(expected, on_device(table, expected.size())) << "after step " << round;
  }
}

// ---- Order ------------------------------------------------------------------------------------------------------

TEST_F(Slots, FillingGoesAheadOfTheDeviceAsFarAsTheRingIsDeep) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto shut = gpubuf::host::hold(stream);
  std::vector<std::vector<std::int32_t>> seen(2, std::vector<std::int32_t>(4));
  const auto at = slots.device_address(slot);
  for (std::int32_t i = 0; i < 2; ++i) {
    auto step = slots.begin(no_wait);
    step.write(slot, {i, i, i, i});
    step.commit(stream);
    auto& target = seen[static_cast<std::size_t>(i)];
    gpubuf::host::call(stream, [&, at](gpubuf::host::view& memory) { memory.read(at, target.data(), 16); });
  }
  EXPECT_STATUS(status::busy, slots.begin<no_throw>(no_wait)) << "both entries are still being copied from";
  EXPECT_STATUS(status::would_deadlock, slots.begin<no_throw>());
  shut.release();
  EXPECT_OK(slots.begin<no_throw>());
  stream.synchronize();
  EXPECT_EQ(std::vector<std::int32_t>(4, 0), seen[0]);
  EXPECT_EQ(std::vector<std::int32_t>(4, 1), seen[1]);
}

TEST_F(Slots, OneStepIsCommittedAndNotRetiredAtMost) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto first = slots.begin();
  auto second = slots.begin();  // Filling ahead is fine.
  first.write(slot, {1});
  second.write(slot, {2});
  first.commit(stream);
  EXPECT_STATUS(status::not_retired, second.commit<no_throw>(stream));
  first.retire();
  EXPECT_OK(second.commit<no_throw>(stream)) << "nothing was lost";
}

TEST_F(Slots, EntriesThatAreBeingFilledAreBusy) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto one = slots.begin();
  auto two = slots.begin();
  EXPECT_STATUS(status::busy, slots.begin<no_throw>()) << "whatever the timeout: they are this program's to end";
  one.abort();
  EXPECT_OK(slots.begin<no_throw>());
  static_cast<void>(slot);
}

TEST_F(Slots, ACallOutOfOrderIsNotBegun) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto step = slots.begin();
  step.write(slot, {1});
  const auto ticket = step.commit(stream);
  EXPECT_EQ(ticket, step.id());
  EXPECT_STATUS(status::not_begun, step.write<no_throw>(slot, {2}));
  EXPECT_STATUS(status::not_begun, step.pad<no_throw>(slot, 2));
  EXPECT_STATUS(status::not_begun, step.commit<no_throw>(stream));
  EXPECT_STATUS(status::not_begun, step.abort<no_throw>());
  step.retire();
  EXPECT_FALSE(step);
  EXPECT_STATUS(status::not_begun, slots.retire<no_throw>(ticket)) << "twice";
  EXPECT_STATUS(status::not_begun, slots.retire<no_throw>(gpubuf::ticket{12345})) << "never was";
}

TEST_F(Slots, TheStepsHandleEndsWithIt) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto step = slots.begin();
  gpubuf_step* raw = step.capi();
  step.write(slot, {1});
  const auto ticket = step.commit(stream);
  slots.retire(ticket);
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_step_pad(raw, slot.index, 1));
  auto aborted = slots.begin();
  raw = aborted.capi();
  aborted.abort();
  EXPECT_STATUS(GPUBUF_STALE_HANDLE, gpubuf_step_abort(raw));
}

TEST_F(Slots, AnAbortedStepLeavesNoTrace) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  {
    auto step = slots.begin();
    step.write(slot, {1, 1, 1, 1});
    step.commit(stream);
  }
  auto step = slots.begin();
  step.write(slot, {2, 2, 2, 2});
  const auto copies = slots.stats().copies;
  step.abort();
  EXPECT_EQ(std::vector<std::int32_t>(4, 1), on_device(slot, 4));
  EXPECT_EQ(copies, slots.stats().copies);
  EXPECT_EQ(1u, slots.stats().steps_aborted);
}

TEST_F(Slots, TheNextCopyWaitsForTheConsumersOfTheLastStep) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  const auto at = slots.device_address(slot);
  auto shut = gpubuf::host::hold(compute);
  std::vector<std::int32_t> seen(4);
  {
    auto step = slots.begin();
    step.write(slot, {1, 1, 1, 1});
    step.commit(stream, compute);
    gpubuf::host::call(compute, [&, at](gpubuf::host::view& memory) { memory.read(at, seen.data(), 16); });
    step.retire();
  }
  auto next = slots.begin();
  next.write(slot, {2, 2, 2, 2});
  next.commit(stream, compute);
  EXPECT_FALSE(stream.is_idle()) << "it may not overwrite what the compute stream has not read";
  shut.release();
  device.synchronize();
  EXPECT_EQ(std::vector<std::int32_t>(4, 1), seen);
}

TEST_F(Slots, ConsumersWaitForTheCopy) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  const auto at = slots.device_address(slot);
  auto shut = gpubuf::host::hold(stream);
  std::vector<std::int32_t> seen(4);
  auto step = slots.begin();
  step.write(slot, {3, 3, 3, 3});
  step.commit(stream, {compute});
  gpubuf::host::call(compute, [&, at](gpubuf::host::view& memory) { memory.read(at, seen.data(), 16); });
  step.retire();
  EXPECT_FALSE(compute.is_idle());
  shut.release();
  compute.synchronize();
  EXPECT_EQ(std::vector<std::int32_t>(4, 3), seen);
}

// ---- The step object --------------------------------------------------------------------------------------------

TEST_F(Slots, AStepMovesToTheThreadThatLaunches) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  for (std::int32_t i = 0; i < 20; ++i) {
    auto step = slots.begin();
    step.write(slot, {i, i, i, i});
    step.commit(stream, compute);
    std::thread([this, at = slots.device_address(slot), i, moved = std::move(step)] {
      gpubuf::host::call(compute, [at, i](gpubuf::host::view& memory) {
        std::int32_t seen[4];
        memory.read(at, seen, sizeof seen);
        EXPECT_EQ(i, seen[3]);
      });
    }).join();  // The scope of the step ended there: retired on the compute stream.
  }
  device.synchronize();
  EXPECT_EQ(20u, slots.stats().steps_retired);
}

TEST_F(Slots, LeavingTheScopeAbortsAStepThatIsBeingFilled) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  for (int i = 0; i < 5; ++i) {
    try {
      auto step = slots.begin(no_wait);
      step.write(slot, {1});
      throw std::runtime_error("half way");
    } catch (const std::runtime_error&) {
    }
  }
  EXPECT_EQ(5u, slots.stats().steps_aborted);
  EXPECT_EQ(0u, slots.stats().copies);
}

TEST_F(Slots, LeavingTheScopeRetiresACommittedStep) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  const auto at = slots.device_address(slot);
  auto shut = gpubuf::host::hold(compute);
  std::vector<std::int32_t> seen(4);
  try {
    auto step = slots.begin();
    step.write(slot, {5, 5, 5, 5});
    step.commit(stream, compute);
    gpubuf::host::call(compute, [&, at](gpubuf::host::view& memory) { memory.read(at, seen.data(), 16); });
    throw std::runtime_error("after the launch");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(1u, slots.stats().steps_retired);
  auto next = slots.begin();
  next.write(slot, {6, 6, 6, 6});
  EXPECT_OK(next.commit<no_throw>(stream)) << "and what was launched is still respected";
  next.retire();
  shut.release();
  device.synchronize();
  EXPECT_EQ(std::vector<std::int32_t>(4, 5), seen);
}

TEST_F(Slots, AStepOutlivesItsSlots) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto filling = slots.begin();
  auto committed = slots.begin();
  committed.write(slot, {1});
  committed.commit(stream);
  slots.reset();
  EXPECT_FALSE(gpubuf::status::ok == committed.retire<no_throw>());
  device.drain();
}

TEST_F(Slots, DestroyingSlotsWithACopyInFlightWaitsForNothing) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto shut = gpubuf::host::hold(stream);
  {
    auto step = slots.begin();
    step.write(slot, {1});
    step.commit(stream);
  }
  slots.reset();
  device.maintain();
  EXPECT_GT(device.stats().deferred_bytes, 0u);
  shut.release();
  device.drain();
  EXPECT_EQ(0u, device.stats().deferred_bytes);
}

// ---- Reading back -----------------------------------------------------------------------------------------------

TEST_F(Slots, RowsAreReadBack) {
  const auto slot = slots.add<std::int32_t>("x", {4, 2});
  slots.freeze();
  auto step = slots.begin();
  step.write(slot, test::ramp<std::int32_t>(8));
  const auto ticket = step.commit(stream);
  auto back = slots.read_back(ticket, slot, stream, 1, 2);
  step.retire();
  EXPECT_EQ((std::vector<std::int32_t>{2, 3, 4, 5}), test::copy_of(back.wait()));
  back.end();
}

TEST_F(Slots, ABuffersDeviceSideIsReadBack) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto tokens = gpubuf::buffer::create<std::int32_t>(device, {4}, gpubuf::placement::none, gpubuf::placement::device);
  const auto in = slots.device_address(slot), out = tokens.device_address(stream);
  auto step = slots.begin();
  step.write(slot, {1, 2, 3, 4});
  const auto ticket = step.commit(stream);
  gpubuf::host::call(stream, [=](gpubuf::host::view& memory) {
    std::int32_t values[4];
    memory.read(in, values, sizeof values);
    for (std::int32_t& value : values) value *= 10;
    memory.write(out, values, sizeof values);
  });
  auto back = slots.read_back<std::int32_t>(ticket, tokens, stream);
  EXPECT_STATUS(status::invalid_argument, slots.read_back<float, no_throw>(ticket, tokens, stream));
  step.retire();
  EXPECT_EQ((std::vector<std::int32_t>{10, 20, 30, 40}), test::copy_of(back.wait()));
}

TEST_F(Slots, AReadBackIsWaitedFor) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto shut = gpubuf::host::hold(stream);
  auto step = slots.begin();
  step.write(slot, {1, 2, 3, 4});
  auto back = slots.read_back(step.commit(stream), slot, stream);
  step.retire();
  EXPECT_STATUS(status::busy, back.wait<no_throw>(no_wait));
  shut.release();
  EXPECT_EQ(test::ramp<std::int32_t>(4, 1), test::copy_of(back.wait()));
  EXPECT_EQ(back.wait().data(), back.wait().data()) << "the same bytes until the end";
}

TEST_F(Slots, TheNextStepDoesNotOverwriteWhatIsBeingReadBack) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto shut = gpubuf::host::hold(compute);
  auto first = slots.begin();
  first.write(slot, {1, 1, 1, 1});
  auto back = slots.read_back(first.commit(stream, compute), slot, compute);
  first.retire();
  auto second = slots.begin();
  second.write(slot, {2, 2, 2, 2});
  second.commit(stream, compute);
  second.retire();
  shut.release();
  EXPECT_EQ(std::vector<std::int32_t>(4, 1), test::copy_of(back.wait()));
}

TEST_F(Slots, ReadBackEntriesAreUsedUpUntilTheyEnd) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto step = slots.begin();
  step.write(slot, {1});
  const auto ticket = step.commit(stream);
  auto one = slots.read_back(ticket, slot, stream);
  auto two = slots.read_back(ticket, slot, stream);
  EXPECT_STATUS(status::busy, slots.read_back<no_throw>(ticket, slot, stream)) << "two entries by default";
  static_cast<void>(one.wait());
  one.end();
  EXPECT_OK(slots.read_back<no_throw>(ticket, slot, stream));
  step.retire();
  EXPECT_STATUS(status::not_begun, slots.read_back<no_throw>(ticket, slot, stream)) << "after retire";
}

TEST_F(Slots, ReadBacksEndReadOrNot) {
  const auto slot = slots.add<std::int32_t>("x", {4});
  slots.freeze();
  auto shut = gpubuf::host::hold(stream);
  auto step = slots.begin();
  step.write(slot, {1, 2, 3, 4});
  const auto ticket = step.commit(stream);
  for (int i = 0; i < 4; ++i) EXPECT_OK(slots.read_back<no_throw>(ticket, slot, stream)) << "ended by its scope, its copy still queued";
  auto kept = slots.read_back(ticket, slot, stream);
  auto moved = std::move(kept);
  EXPECT_FALSE(kept);  // NOLINT
  step.retire();
  shut.release();
  EXPECT_EQ(test::ramp<std::int32_t>(4, 1), test::copy_of(moved.wait()));
  moved.end();
  EXPECT_STATUS(status::not_begun, moved.wait<no_throw>()) << "ended";
}

// ---- Failure ----------------------------------------------------------------------------------------------------

TEST_F(Slots, AfterAFailedCommitTheNextStepSendsEverything) {
  const auto id = slots.add<std::int32_t>("id", {4});
  const auto kept = slots.add<float>("kept", {4}, slot_kind::kept);
  slots.freeze();
  {
    auto step = slots.begin();
    step.write(id, {1, 1, 1, 1});
    step.write(kept, {1, 2, 3, 4});
    step.commit(stream);
  }
  {
    auto step = slots.begin();
    step.write(id, {2, 2, 2, 2});
    step.write(kept, {9}, 0);
    gpubuf::host::fail_operation(device, gpubuf::host::operation::copy, 1, gpubuf::host::when::at_submission);
    EXPECT_FALSE(gpubuf::status::ok == step.commit<no_throw>(stream).status());
  }
  {
    auto step = slots.begin();
    step.write(id, {3, 3, 3, 3});
    step.commit(stream);
  }
  EXPECT_EQ(std::vector<std::int32_t>(4, 3), on_device(id, 4));
  const auto values = on_device(kept, 4);
  EXPECT_EQ((std::vector<float>{2, 3, 4}), std::vector<float>(values.begin() + 1, values.end()));
}

TEST_F(Slots, DepthsAreChosenAndChecked) {
  gpubuf::slots_options options;
  EXPECT_EQ(2u, options.depth);
  EXPECT_EQ(2u, options.read_back_depth);
  for (const std::uint32_t bad : {0u, 17u}) {
    options.depth = bad;
    EXPECT_STATUS(status::invalid_argument, gpubuf::slots::create<no_throw>(device, options)) << bad;
  }
  options.depth = 4;
  auto deep = gpubuf::slots::create(device, options);
  const auto slot = deep.add<std::int32_t>("x", {1});
  deep.freeze();
  EXPECT_EQ(4u, deep.stats().depth);
  auto shut = gpubuf::host::hold(stream);
  for (std::int32_t i = 0; i < 4; ++i) {
    auto step = deep.begin(no_wait);
    step.write(slot, {i});
    step.commit(stream);
  }
  EXPECT_STATUS(status::busy, deep.begin<no_throw>(no_wait));
}
