// Several copies of the device memory: a step is sent while the device still works on the last one.
#include "support.hpp"

using gpubuf::no_throw;
using gpubuf::slot_kind;
using gpubuf::status;

class SlotsPipeline : public test::Device {
 protected:
  gpubuf::stream compute = gpubuf::stream::create(device);
  gpubuf::slots slots = make(2);
  gpubuf::slot<std::int32_t> ids = slots.add<std::int32_t>("ids", {4});
  gpubuf::slot<float> kept = slots.add<float>("kept", {4}, slot_kind::kept);

  void SetUp() override { slots.freeze(); }

  gpubuf::slots make(std::uint32_t copies) {
    gpubuf::slots_options options;
    options.depth = 4;
    options.device_depth = copies;
    return gpubuf::slots::create(device, options);
  }
  gpubuf::step filled(std::int32_t value) {
    auto step = slots.begin();
    step.write(ids, {value, value, value, value});
    return step;
  }
  template <class T>
  std::vector<T> in_copy(std::uint32_t copy, gpubuf::slot<T> slot) {
    std::vector<T> values(4);
    const gpubuf::address at = slots.device_address(slot, copy);
    gpubuf::host::call(stream, [&](gpubuf::host::view& memory) { memory.read(at, values.data(), 4 * sizeof(T)); });
    stream.synchronize();
    return values;
  }
};

TEST_F(SlotsPipeline, SendsTheNextStepWhileTheDeviceReadsTheLast) {
  auto shut = gpubuf::host::hold(compute);
  std::vector<std::vector<std::int32_t>> seen(2, std::vector<std::int32_t>(4));
  std::vector<gpubuf::step> steps;
  for (std::int32_t i = 0; i < 2; ++i) {
    steps.push_back(filled(i + 1));
    steps.back().commit(stream, compute);
    const gpubuf::address at = steps.back().device_address(ids);  // in the step's copy
    auto& target = seen[static_cast<std::size_t>(i)];
    gpubuf::host::call(compute, [&target, at](gpubuf::host::view& memory) { memory.read(at, target.data(), 16); });
  }
  EXPECT_OK(stream.synchronize<no_throw>()) << "neither copy waited for the kernels";
  EXPECT_EQ(2u, slots.stats().unretired_steps);
  auto third = filled(3);
  EXPECT_STATUS(status::not_retired, third.commit<no_throw>(stream)) << "the first step has the copy";
  steps[0].retire();
  EXPECT_OK(third.commit<no_throw>(stream, compute));
  EXPECT_FALSE(stream.is_idle()) << "and its kernels still read it";
  shut.release();
  device.synchronize();
  EXPECT_EQ(std::vector<std::int32_t>(4, 1), seen[0]);
  EXPECT_EQ(std::vector<std::int32_t>(4, 2), seen[1]);
}

TEST_F(SlotsPipeline, EachCopyHasAddressesOfItsOwn) {
  EXPECT_NE(slots.device_address(ids, 0), slots.device_address(ids, 1));
  EXPECT_STATUS(status::not_found, slots.device_address<no_throw>(ids, 2));
  for (std::int32_t i = 0; i < 5; ++i) {
    auto step = filled(i);
    EXPECT_STATUS(status::not_begun, step.device_address<no_throw>(ids)) << "known with the commit";
    step.commit(stream);
    EXPECT_EQ(slots.device_address(ids, static_cast<std::uint32_t>(i % 2)), step.device_address(ids)) << "in turn";
  }
  for (const std::uint32_t bad : {0u, 5u}) {
    gpubuf::slots_options options;
    options.device_depth = bad;
    EXPECT_STATUS(status::invalid_argument, gpubuf::slots::create<no_throw>(device, options)) << bad;
  }
}

TEST_F(SlotsPipeline, KeptRowsReachEveryCopy) {
  const std::vector<float> values{1, 2, 3, 4};
  for (std::int32_t i = 0; i < 2; ++i) filled(i).commit(stream);
  {
    auto step = filled(2);
    step.write(kept, values);
    step.commit(stream);
  }
  EXPECT_EQ(values, in_copy(0, kept));
  EXPECT_NE(values, in_copy(1, kept)) << "not before its next step";
  filled(3).commit(stream);
  EXPECT_EQ(values, in_copy(1, kept));
  EXPECT_EQ(16u, slots.stats().caught_up_bytes);
}

TEST_F(SlotsPipeline, ReadBacksAreOfTheStepsCopy) {
  auto one = filled(1), two = filled(2);
  const auto first = one.commit(stream), second = two.commit(stream);
  auto back = slots.read_back(first, ids, stream), other = slots.read_back(second, ids, stream);
  EXPECT_EQ(std::vector<std::int32_t>(4, 1), test::copy_of(back.wait()));
  EXPECT_EQ(std::vector<std::int32_t>(4, 2), test::copy_of(other.wait()));
}

TEST_F(SlotsPipeline, StepsRetireInAnyOrder) {
  auto one = filled(1), two = filled(2);
  const auto first = one.commit(stream), second = two.commit(stream);
  slots.retire(second);
  EXPECT_STATUS(status::not_begun, slots.retire<no_throw>(second)) << "once";
  slots.retire(first);
  EXPECT_EQ(0u, slots.stats().unretired_steps);
}

TEST_F(SlotsPipeline, AGraphHoldHasEveryCopyOrOne) {
  auto every = gpubuf::graph_hold::create(device);
  every.add(slots);
  auto second = gpubuf::graph_hold::create(device);
  second.add(slots, 1);
  EXPECT_STATUS(status::not_found, second.add<no_throw>(slots, 2));
  EXPECT_STATUS(status::exists, second.add<no_throw>(slots)) << "all copies or none";
}
