// Dynamic slots: bound for one step to memory that is on the device already, and not copied.
#include "support.hpp"

using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::slot_kind;
using gpubuf::status;

class SlotsBinding : public test::Device {
 protected:
  gpubuf::stream compute = gpubuf::stream::create(device);
  gpubuf::slots slots = gpubuf::slots::create(device);
  gpubuf::slot<std::int32_t> ids = slots.add<std::int32_t>("ids", {4});
  gpubuf::slot<float> hidden = slots.add<float>("hidden", {4, 8}, slot_kind::dynamic);

  void SetUp() override { slots.freeze(); }

  gpubuf::step filled() {
    auto step = slots.begin();
    step.write(ids, {1});
    return step;
  }
};

TEST_F(SlotsBinding, TakesTheCallersMemoryForOneStep) {
  auto memory = gpubuf::buffer::create<float>(device, {4, 8}, gpubuf::placement::none, gpubuf::placement::device);
  const auto at = memory.device_address(compute);
  auto step = filled();
  EXPECT_STATUS(status::slot_unwritten, step.commit<no_throw>(stream)) << "as a required slot that was not written";
  step.bind(hidden, at, 2, compute);  // two rows, ready when the compute stream has come this far
  EXPECT_EQ(at, step.device_address(hidden));
  EXPECT_OK(step.commit<no_throw>(stream, compute));
  EXPECT_EQ(at, step.device_address(hidden));
  step.retire();
  EXPECT_STATUS(status::slot_unwritten, filled().commit<no_throw>(stream)) << "for that step only";
}

TEST_F(SlotsBinding, ComesBehindWhoWritesTheMemory) {
  auto memory = gpubuf::buffer::create<float>(device, {4, 8}, gpubuf::placement::none, gpubuf::placement::device);
  auto shut = gpubuf::host::hold(compute);
  gpubuf::host::call(compute, [](gpubuf::host::view&) {});
  auto step = filled();
  step.bind(hidden, memory.device_address(compute), 4, compute);
  step.commit(stream);
  EXPECT_FALSE(stream.is_idle()) << "the step waits on the device, not on the host";
  step.retire();
  shut.release();
  device.synchronize();
}

TEST_F(SlotsBinding, KeepsABlockUntilItsConsumersAreDone) {
  auto block = gpubuf::block::create(device, 4 * 8 * sizeof(float), gpubuf::placement::uva);
  auto step = filled();
  step.bind(hidden, block);
  EXPECT_STATUS(status::graph_held, block.give_back<no_throw>()) << "the step has it";
  block.copy_in(std::vector<float>(32, 2.0f));  // up to the commit it may be written
  step.commit(stream, compute);
  stream.synchronize();
  EXPECT_STATUS(status::unfenced, block.copy_in<no_throw>(std::vector<float>(32, 3.0f))) << "consumers may read it";
  auto shut = gpubuf::host::hold(compute);
  float seen = 0;
  const auto at = step.device_address(hidden);
  gpubuf::host::call(compute, [&seen, at](gpubuf::host::view& memory) { memory.read(at, &seen, sizeof seen); });
  step.retire();
  EXPECT_STATUS(status::busy, block.copy_in<no_throw>(std::vector<float>(32, 3.0f), 0, no_wait)) << "they do";
  shut.release();
  EXPECT_OK(block.copy_in<no_throw>(std::vector<float>(32, 3.0f)));
  device.synchronize();
  EXPECT_EQ(2.0f, seen);
  EXPECT_OK(block.give_back<no_throw>());
}

TEST_F(SlotsBinding, IsNotForStepsThatAGraphReads) {
  auto block = gpubuf::block::create(device, 4 * 8 * sizeof(float), gpubuf::placement::uva);
  auto step = slots.begin_replay();
  step.write(ids, {1});
  EXPECT_STATUS(status::unsupported, step.bind<no_throw>(hidden, block)) << "its addresses are baked in";
  EXPECT_OK(step.commit<no_throw>(stream)) << "and nothing needs to be bound";
}

TEST_F(SlotsBinding, RefusesWhatIsNoMemoryForTheSlot) {
  auto step = filled();
  EXPECT_STATUS(status::unsupported, step.bind<no_throw>(ids, 0x1000, 1)) << "a static slot";
  EXPECT_STATUS(status::invalid_argument, step.bind<no_throw>(hidden, 0, 1));
  EXPECT_STATUS(status::invalid_argument, step.bind<no_throw>(hidden, 0x1000, 5)) << "more rows than the slot has";
  EXPECT_STATUS(status::invalid_argument, step.bind<no_throw>(hidden, 0x1000, gpubuf::all));
  gpubuf::block_options options;
  options.bytes = 4 * 8 * sizeof(float);
  options.device_side = GPUBUF_TWIN_NEVER;
  auto pinned = gpubuf::block::create(device, options);
  EXPECT_STATUS(status::unsupported, step.bind<no_throw>(hidden, pinned)) << "kernels cannot use it";
  EXPECT_STATUS(status::unsupported, step.write<no_throw>(hidden, std::vector<float>(8)));
  EXPECT_STATUS(status::unsupported, slots.device_address<no_throw>(hidden)) << "it is the step's";
  EXPECT_EQ(0u, slots.info(hidden).device_address);
  EXPECT_EQ(static_cast<std::uint32_t>(GPUBUF_SLOT_DYNAMIC), slots.info(hidden).kind);
}

TEST_F(SlotsBinding, EndsWithTheStep) {
  auto block = gpubuf::block::create(device, 4 * 8 * sizeof(float), gpubuf::placement::uva);
  {
    auto step = filled();
    step.bind(hidden, block);
  }
  auto second = filled();
  second.bind(hidden, block);
  slots.abort_all();
  EXPECT_OK(block.give_back<no_throw>());
  EXPECT_EQ(2u, slots.stats().bindings);
}
