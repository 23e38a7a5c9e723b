// Predictors: the sizes of past steps tell those of the next ones, and memory for them is made where nobody waits for it.
#include "support.hpp"

#include <stdexcept>

using gpubuf::method;
using gpubuf::no_throw;
using gpubuf::no_wait;
using gpubuf::status;

class Predictor : public test::Device {
 protected:
  using sizes = std::vector<std::uint64_t>;

  static gpubuf::predictor_options options(method by, std::uint32_t count) {
    gpubuf::predictor_options options;
    options.method = gpubuf::detail::number(by);
    options.count = count;
    return options;
  }
  /// How many of these steps were predicted.
  static std::size_t record(const gpubuf::predictor& predictor, const sizes& run, int rounds = 1) {
    std::size_t hits = 0;
    for (int round = 0; round < rounds; ++round) {
      for (const auto size : run) hits += predictor.record(size) ? 1 : 0;
    }
    return hits;
  }
  static gpubuf::pool pool(const gpubuf::device& on, std::uint64_t block_bytes, std::uint32_t first, std::uint32_t most) {
    gpubuf::pool_options options;
    options.block_bytes = block_bytes;
    options.block_count = first;
    options.max_blocks = most;
    return gpubuf::pool::create(on, options);
  }
};

TEST_F(Predictor, PredictsTheMostCommonSizesOfAWindow) {
  auto chosen = options(method::most_common, 2);
  chosen.window = 6;
  const auto predictor = gpubuf::predictor::create(chosen);
  EXPECT_TRUE(predictor.predict().empty()) << "nothing is known";
  record(predictor, {64, 64, 64, 32, 32, 16});
  EXPECT_EQ((sizes{64, 32}), test::copy_of(predictor.predict()));
  record(predictor, {16, 16, 16});
  EXPECT_EQ((sizes{16, 32}), test::copy_of(predictor.predict())) << "the 64s have left the window";
}

TEST_F(Predictor, PredictsWhatCameAfterTheLastSize) {
  const auto predictor = gpubuf::predictor::create(options(method::markov, 1));
  record(predictor, {10, 20, 10, 20, 10, 30, 10, 20});
  EXPECT_EQ(10u, predictor.predict()[0]);
  record(predictor, {10});
  EXPECT_EQ(20u, predictor.predict()[0]) << "more often than 30";
}

TEST_F(Predictor, PredictsWhatCameAfterTheLastTwoSizes) {
  const sizes run{10, 20, 10, 30};
  const auto one = gpubuf::predictor::create(options(method::markov, 1));
  const auto two = gpubuf::predictor::create(options(method::markov2, 1));
  EXPECT_LE(record(one, run, 100), 300u) << "after 10 it can only guess";
  EXPECT_GE(record(two, run, 100), 390u);
}

TEST_F(Predictor, BlendsThem) {
  const auto predictor = gpubuf::predictor::create(options(method::blend, 1));
  const auto believed = [&] { return static_cast<method>(predictor.stats().believed); };
  EXPECT_EQ(method::most_common, believed()) << "until another is better by more than chance";
  record(predictor, {10, 20, 30, 40}, 50);
  EXPECT_EQ(method::markov, believed());
}

TEST_F(Predictor, FillsUpWithTheMostCommonOnes) {
  const auto predictor = gpubuf::predictor::create(options(method::markov2, 3));
  record(predictor, {7, 7, 7, 5, 9});
  EXPECT_EQ(7u, predictor.predict()[0]) << "nothing has come after a 9 yet";
  EXPECT_EQ(3u, predictor.predict().size());
}

TEST_F(Predictor, CountsHitsAndWaste) {
  const auto predictor = gpubuf::predictor::create(device, options(method::most_common, 2));
  EXPECT_FALSE(predictor.record(100)) << "the first size cannot be predicted";
  EXPECT_TRUE(predictor.record(100));
  EXPECT_FALSE(predictor.record(40));
  EXPECT_TRUE(predictor.record(40)) << "100 and 40 were predicted";
  const auto stats = predictor.stats();
  EXPECT_EQ(4u, stats.records);
  EXPECT_EQ(3u, stats.predictions);
  EXPECT_EQ(2u, stats.hits);
  EXPECT_EQ(2u, stats.most_common_hits);
  EXPECT_EQ(100u + 100u + 140u, stats.predicted_bytes);
  EXPECT_EQ(0u + 100u + 100u, stats.waste_bytes);
  EXPECT_EQ(2u, stats.sizes);
}

TEST_F(Predictor, LeavesWhatItWarmsFree) {
  const auto pool = Predictor::pool(device, 4096, 1, 8);
  const auto predictor = gpubuf::predictor::create(device);
  record(predictor, {1000, 2000, 3000, 9000}, 30);
  const auto warmed = predictor.prewarm(pool);
  EXPECT_EQ(2u, warmed.made) << "three sizes are predicted, of which all fit, and one block was there";
  EXPECT_EQ(0u, warmed.missing);
  EXPECT_EQ(3u, pool.stats().free_blocks);
  EXPECT_EQ(0u, pool.stats().held_blocks);
  EXPECT_EQ(0u, predictor.prewarm(pool).made) << "they are still there";

  std::vector<gpubuf::block> blocks;
  for (int i = 0; i < 3; ++i) blocks.push_back(pool.acquire(no_wait));
  EXPECT_EQ(0u, pool.stats().contended_acquires);
}

TEST_F(Predictor, WarmsEachPoolForItsOwnSizes) {
  const auto small = pool(device, 1024, 1, 8), large = pool(device, 65536, 1, 8);
  const auto predictor = gpubuf::predictor::create(device);
  record(predictor, {500, 1000, 60000});
  EXPECT_EQ(3u, predictor.prewarm(small, 0, 2).made) << "two sizes, two blocks each, one of them was there";
  EXPECT_EQ(1u, predictor.prewarm(large, 1024, 2).made) << "one size";
  EXPECT_STATUS(status::invalid_argument, predictor.prewarm<no_throw>(large, 65536)) << "no size is above that and fits";
  EXPECT_STATUS(status::invalid_argument, predictor.prewarm<no_throw>(large, 0, 0));
}

TEST_F(Predictor, TellsWhatAPoolMayNotHave) {
  const auto fixed = gpubuf::pool::create(device, 4096, 1);
  const auto predictor = gpubuf::predictor::create(device);
  record(predictor, {1, 2, 3});
  const auto warmed = predictor.prewarm(fixed);
  EXPECT_EQ(0u, warmed.made);
  EXPECT_EQ(2u, warmed.missing);
}

TEST_F(Predictor, WarmsWhateverAFunctionDoes) {
  const auto predictor = gpubuf::predictor::create();
  record(predictor, {300, 200, 200, 100, 100, 100});
  sizes asked;
  const auto made = predictor.prewarm([&](std::uint64_t size) {
    asked.push_back(size);
    return size == 200 ? std::uint64_t{0} : size;  // for 200 there was memory
  });
  EXPECT_EQ((sizes{100, 200, 300}), asked) << "the likeliest first";
  EXPECT_EQ(400u, made);
  record(predictor, {300});
  EXPECT_EQ(400u, predictor.stats().warmed_bytes);
  EXPECT_EQ(300u, predictor.stats().warmed_used_bytes);
}

TEST_F(Predictor, DropsExceptionsOfThatFunction) {
  const auto predictor = gpubuf::predictor::create();
  record(predictor, {1, 2, 3});
  const auto before = gpubuf::dropped_exceptions();
  const auto fails = [](std::uint64_t) -> std::uint64_t { throw std::runtime_error("no memory"); };
  EXPECT_EQ(0u, predictor.prewarm(fails));
  EXPECT_EQ(before + 3, gpubuf::dropped_exceptions());
}

TEST_F(Predictor, KnowsABoundedNumberOfSizes) {
  auto few = options(method::blend, 3);
  few.window = few.most_sizes = 16;
  const auto predictor = gpubuf::predictor::create(few);
  record(predictor, test::ramp<std::uint64_t>(1000, 1));
  EXPECT_EQ(16u, predictor.stats().sizes);
  EXPECT_EQ(984u, predictor.stats().evictions);
}

TEST_F(Predictor, SuggestsPoolsToPaste) {
  const auto predictor = gpubuf::predictor::create();
  record(predictor, {4096, 4096, 65536}, 100);
  EXPECT_EQ(
      "// 300 of 300 records in 2 pools, 0.0 % of their bytes padding\n"
      "gpubuf::pool::create(device, 4096, 2);  // 66.7 % of the records\n"
      "gpubuf::pool::create(device, 65536, 1);  // 33.3 % of the records\n",
      predictor.suggest());
}

TEST_F(Predictor, IsInTheReportOfItsDevice) {
  const auto predictor = gpubuf::predictor::create(device, options(method::most_common, 1));
  record(predictor, {4096, 4096, 4096, 65536});
  const std::string text = gpubuf::report(gpubuf::report_format::json);
  for (const auto* figure : {"\"hits\":2,", "\"waste_bytes\":4096,", "\"block_bytes\":65536,\"block_count\":1"}) {
    EXPECT_NE(std::string::npos, text.find(figure)) << figure << " is not in " << text;
  }
}

TEST_F(Predictor, RefusesSizesAndOptionsThatMakeNoSense) {
  const auto predictor = gpubuf::predictor::create(device);
  EXPECT_STATUS(status::invalid_argument, predictor.record<no_throw>(0));
  EXPECT_STATUS(status::invalid_argument, predictor.record<no_throw>(UINT64_MAX));
  EXPECT_EQ(0u, predictor.stats().records);
  const auto create = [](auto change) {
    gpubuf::predictor_options wrong;
    change(wrong);
    return gpubuf::predictor::create<no_throw>(wrong);
  };
  EXPECT_STATUS(status::invalid_argument, create([](auto& o) { o.method = 77; }));
  EXPECT_STATUS(status::invalid_argument, create([](auto& o) { o.count = 9; }));
  EXPECT_STATUS(status::invalid_argument, create([](auto& o) { o.window = 0; }));
  EXPECT_STATUS(status::invalid_argument, create([](auto& o) { o.most_sizes = o.window - 1; })) << "the window is known";
  EXPECT_STATUS(status::invalid_argument, create([](auto& o) { o.steps_in_flight = o.window + 1; }));
}

TEST_F(Predictor, OutlivesItsDeviceAndAnswersWithAStatusAfterItsEnd) {
  auto other = gpubuf::device::open(test::backend());
  auto predictor = gpubuf::predictor::create(other);
  other.reset();
  EXPECT_OK(predictor.record<no_throw>(5));
  gpubuf_predictor* handle = predictor.capi();
  predictor.reset();
  EXPECT_STATUS(status::stale_handle, gpubuf_predictor_record(handle, 5, nullptr));
  EXPECT_STATUS(status::invalid_argument, predictor.record<no_throw>(5)) << "empty";
}

TEST_F(Predictor, IsDescribedAndNamed) {
  auto chosen = options(method::blend, 3);
  chosen.label = "steps";
  const auto predictor = gpubuf::predictor::create(device, chosen);
  record(predictor, {5, 5, 5});
  EXPECT_EQ("predictor \"steps\": blend by most_common; 2 of 2 predictions hit, 1 sizes", gpubuf::describe(predictor));
}
