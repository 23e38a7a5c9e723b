// The tensor: a truth that is always the host's, published in blocks of a pool.
#include "support.hpp"

using gpubuf::access;
using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::placement;
using gpubuf::status;
using gpubuf::tensor;

class Tensors : public test::Device {
 protected:
  gpubuf::pool in_place = gpubuf::pool::create(device, 256, 3, placement::uva);  // kernels read the block itself
  gpubuf::pool twins = gpubuf::pool::create(device, 256, 3);                     // pinned, with a device side each
  gpubuf::stream second = gpubuf::stream::create(device);

  // What a kernel on the stream sees at the address when it runs.
  void look(const gpubuf::stream& on, gpubuf::address at, std::vector<std::int32_t>& seen) {
    seen.assign(64, -1);
    gpubuf::host::call(on, [at, &seen](gpubuf::host::view& memory) { memory.read(at, seen.data(), 256); });
  }
};

TEST_F(Tensors, TheTruthIsTheHosts) {
  auto table = tensor::create<std::int32_t>(in_place, {8, 8});
  EXPECT_EQ(64u, table.info().count);
  EXPECT_EQ(256u, table.info().bytes);
  table.fill(7);
  table.write(std::vector<std::int32_t>{1, 2, 3}, 60);
  const auto truth = table.data<std::int32_t>();
  ASSERT_EQ(64u, truth.size());
  EXPECT_EQ(7, truth[59]);
  EXPECT_EQ(3, truth[62]);
  EXPECT_EQ(0u, table.stats().held_blocks) << "no block is needed for that";
}

TEST_F(Tensors, AKernelSeesTheTruthOfItsPublish) {
  for (auto* pool : {&in_place, &twins}) {
    auto table = tensor::create<std::int32_t>(*pool, {64});
    std::vector<std::int32_t> first, later;
    auto shut = gpubuf::host::hold(stream);
    table.fill(1);
    look(stream, table.publish(stream, no_wait), first);
    table.fill(2);  // at once: the truth is not what the kernel reads
    look(stream, table.publish(stream, no_wait), later);
    table.fill(3);
    EXPECT_STATUS(status::busy, table.publish<no_throw>(stream, no_wait)) << "two blocks are the most it may hold";
    EXPECT_STATUS(status::would_deadlock, table.publish<no_throw>(stream));
    shut.release();
    EXPECT_OK(table.publish<no_throw>(stream));
    stream.synchronize();
    EXPECT_EQ(std::vector<std::int32_t>(64, 1), first);
    EXPECT_EQ(std::vector<std::int32_t>(64, 2), later);
  }
}

TEST_F(Tensors, NothingNewIsTheSameAddress) {
  auto table = tensor::create<std::int32_t>(in_place, {64});
  const auto at = table.publish(stream);
  EXPECT_EQ(at, table.publish({stream, second}));
  EXPECT_EQ(1u, table.stats().unchanged);
  EXPECT_EQ(256u, table.stats().copied_bytes);
}

TEST_F(Tensors, OnlyWhatChangedIsCopied) {
  auto table = tensor::create<std::int32_t>(in_place, {64});
  table.publish(stream);
  table.write(std::vector<std::int32_t>{5}, 10);
  table.data<std::int32_t>()[20] = 6;
  table.mark(20, 1);
  std::vector<std::int32_t> seen;
  look(stream, table.publish(stream), seen);
  stream.synchronize();
  EXPECT_EQ(test::copy_of(table.data<std::int32_t>()), seen);
  EXPECT_EQ(6, seen[20]);
  EXPECT_EQ(256u + 8u, table.stats().copied_bytes);
  EXPECT_EQ(248u, table.stats().skipped_bytes);
}

TEST_F(Tensors, EachBlockKnowsWhatItLacks) {
  auto table = tensor::create<std::int32_t>(in_place, {64});
  auto shut = gpubuf::host::hold(stream);
  std::vector<std::int32_t> one, two, three;
  look(stream, table.publish(stream, no_wait), one);
  table.write(std::vector<std::int32_t>{1}, 0);
  look(stream, table.publish(stream, no_wait), two);  // another block, whole
  table.write(std::vector<std::int32_t>{2}, 1);
  shut.release();
  look(stream, table.publish(stream), three);         // whichever block it is: it gets what it lacks
  stream.synchronize();
  EXPECT_EQ(0, one[0]);
  EXPECT_EQ(1, two[0]);
  EXPECT_EQ(0, two[1]);
  EXPECT_EQ(1, three[0]);
  EXPECT_EQ(2, three[1]);
}

TEST_F(Tensors, WhatKernelsWriteIsTakenOver) {
  for (auto* pool : {&in_place, &twins}) {
    auto table = tensor::create<std::int32_t>(*pool, {64});
    EXPECT_STATUS(status::not_begun, table.to_host<no_throw>(stream));
    const auto at = table.publish(stream, no_wait, access::write);
    gpubuf::host::call(stream, [at](gpubuf::host::view& memory) {
      const std::int32_t value = 42;
      memory.write(at, &value, sizeof value);
    });
    table.to_host(stream);
    EXPECT_EQ(42, table.data<std::int32_t>()[0]);
    EXPECT_EQ(256u, table.stats().read_bytes);
  }
}

TEST_F(Tensors, WhatIsNotTakenOverIsOverwrittenByTheTruth) {
  auto table = tensor::create<std::int32_t>(in_place, {64});
  const auto at = table.publish(stream, no_wait, access::write);
  gpubuf::host::call(stream, [at](gpubuf::host::view& memory) {
    const std::int32_t value = 42;
    memory.write(at, &value, sizeof value);
  });
  std::vector<std::int32_t> seen;
  look(stream, table.publish(stream), seen);
  stream.synchronize();
  EXPECT_EQ(0, seen[0]);
}

TEST_F(Tensors, StreamsOfATwinWaitForItsCopy) {
  auto table = tensor::create<std::int32_t>(twins, {64});
  table.fill(9);
  std::vector<std::int32_t> seen;
  auto shut = gpubuf::host::hold(stream);
  look(second, table.publish({stream, second}, no_wait), seen);
  // Only a stream that does not wait for the copy on the first one would run dry.
  EXPECT_STATUS(status::timeout, second.synchronize<no_throw>(std::chrono::milliseconds(150)));
  shut.release();
  second.synchronize();
  EXPECT_EQ(std::vector<std::int32_t>(64, 9), seen);
}

TEST_F(Tensors, BlocksGoBackWithTheTensorAndTheirUses) {
  auto shut = gpubuf::host::hold(stream);
  std::vector<std::int32_t> seen;
  {
    auto table = tensor::create<std::int32_t>(in_place, {64});
    table.fill(4);
    look(stream, table.publish(stream, no_wait), seen);
    EXPECT_EQ(1u, in_place.stats().held_blocks);
  }
  EXPECT_EQ(0u, in_place.stats().held_blocks);
  auto a = in_place.acquire(no_wait), b = in_place.acquire(no_wait);
  EXPECT_STATUS(status::busy, in_place.acquire<no_throw>(no_wait)) << "the third is still read";
  shut.release();
  EXPECT_OK(in_place.acquire<no_throw>());
  stream.synchronize();
  EXPECT_EQ(std::vector<std::int32_t>(64, 4), seen);
}

TEST_F(Tensors, SynchronizeWaitsForEveryBlock) {
  auto table = tensor::create<std::int32_t>(in_place, {64});
  auto shut = gpubuf::host::hold(stream);
  table.publish(stream, no_wait);
  gpubuf::host::delay(stream, std::chrono::nanoseconds(1));  // what a kernel would be
  EXPECT_STATUS(status::busy, table.synchronize<no_throw>(no_wait));
  shut.release();
  EXPECT_OK(table.synchronize<no_throw>());
}

TEST_F(Tensors, RefuseWhatTheyCannotBe) {
  EXPECT_STATUS(status::invalid_argument, (tensor::create<std::int64_t, no_throw>(in_place, {64}))) << "larger than a block";
  EXPECT_STATUS(status::invalid_argument, (tensor::create<std::int32_t, no_throw>(in_place, {64}, 9)));
  gpubuf::pool_options options;
  options.block_bytes = 256;
  options.block_count = 1;
  const auto plain = gpubuf::pool::create(device, options);
  EXPECT_STATUS(status::unsupported, (tensor::create<std::int32_t, no_throw>(plain, {64}))) << "kernels cannot address it";
  auto table = tensor::create<std::int32_t>(in_place, {64});
  EXPECT_STATUS(status::invalid_argument, table.publish<no_throw>(gpubuf::stream_list(), no_wait));
  EXPECT_STATUS(status::invalid_argument, table.write<no_throw>(std::vector<float>(4)));
  EXPECT_STATUS(status::invalid_argument, table.write<no_throw>(std::vector<std::int32_t>(2), 63)) << "outside";
  EXPECT_STATUS(status::invalid_argument, table.mark<no_throw>(65));
  EXPECT_STATUS(status::invalid_argument, (table.data<float, no_throw>()));
}
