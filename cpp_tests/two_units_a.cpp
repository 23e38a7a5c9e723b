// gpubuf.hpp in two translation units of one program: everything inline is one thing.
#include "support.hpp"
#include "two_units.hpp"

TEST(TwoUnits, PassObjectsToEachOther) {
  const auto device = gpubuf::device::open(gpubuf::backend::host);
  auto unit = two_units::make(device);
  unit.buffer.to_device(unit.stream);
  EXPECT_EQ(7, two_units::first_element(unit));
}

TEST(TwoUnits, CatchEachOthersErrors) {
  EXPECT_THROW(two_units::fail(), gpubuf::error);
  EXPECT_THROW(two_units::run_out(), gpubuf::out_of_memory);
}

TEST(TwoUnits, ShareOneLogAndOneCount) {
  const auto device = gpubuf::device::open(gpubuf::backend::host);
  const auto stream = gpubuf::stream::create(device);
  const auto before = gpubuf::dropped_exceptions();
  EXPECT_EQ(before, two_units::dropped());
  gpubuf::host::call(stream, [](gpubuf::host::view&) { throw 1; });
  stream.synchronize();
  EXPECT_EQ(before + 1, two_units::dropped());
  EXPECT_EQ(two_units::log_sink(), static_cast<const void*>(&gpubuf::detail::log_sink::instance()));
}
