#include "../report.hpp"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "../options.hpp"

namespace decode_replay {
namespace {

TEST(Percentile, IsTheNearestRank) {
  EXPECT_EQ(percentile({}, 50), 0U);
  EXPECT_EQ(percentile({7}, 1), 7U);
  EXPECT_EQ(percentile({7}, 99), 7U);
  EXPECT_EQ(percentile({2, 1}, 50), 1U);
  EXPECT_EQ(percentile({3, 1, 2}, 50), 2U);
  EXPECT_EQ(percentile({15, 20, 35, 40, 50}, 30), 20U);
  EXPECT_EQ(percentile({15, 20, 35, 40, 50}, 40), 20U);
  EXPECT_EQ(percentile({15, 20, 35, 40, 50}, 100), 50U);
  std::vector<std::uint64_t> hundred;
  for (std::uint64_t i = 100; i > 0; --i) {
    hundred.push_back(i);
  }
  EXPECT_EQ(percentile(hundred, 50), 50U);
  EXPECT_EQ(percentile(hundred, 99), 99U);
  EXPECT_EQ(percentile(hundred, 99.5), 100U);
  EXPECT_EQ(percentile(hundred, 100), 100U);
}

Options parse(const std::vector<const char*>& arguments) {
  std::vector<const char*> argv = {"decode_replay"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return parse_options(static_cast<int>(argv.size()), argv.data());
}

std::string refusal(const std::vector<const char*>& arguments) {
  try {
    parse(arguments);
  } catch (const UsageError& e) {
    return e.what();
  }
  return "";
}

TEST(Options, AreRead) {
  const Options none = parse({});
  EXPECT_EQ(none.trace_path, "");
  EXPECT_EQ(none.replay.streams, 2U);
  EXPECT_EQ(none.replay.compute_ns, 200'000U);
  EXPECT_EQ(none.batcher.step_ms, 20);

  const Options some = parse({"--steps=7", "--speed", "2.5", "a.csv", "--streams", "1", "--link-gb-per-s", "25",
                              "--link-latency-us=1.5", "--compute-us", "0", "--json", "out.json"});
  EXPECT_EQ(some.replay.max_steps, 7U);
  EXPECT_EQ(some.batcher.speed, 2.5);
  EXPECT_EQ(some.trace_path, "a.csv");
  EXPECT_EQ(some.replay.streams, 1U);
  EXPECT_EQ(some.replay.link_bytes_per_second, 25'000'000'000U);
  EXPECT_EQ(some.replay.link_latency_ns, 1500U);
  EXPECT_EQ(some.replay.compute_ns, 0U);
  EXPECT_EQ(some.json_path, "out.json");
  EXPECT_EQ(parse({"--", "--odd.csv"}).trace_path, "--odd.csv");
  EXPECT_EQ(parse({"--trace", "b.csv"}).trace_path, "b.csv");
  EXPECT_EQ(parse({"--report=r.json"}).report_path, "r.json");
  EXPECT_EQ(parse({"--rounds", "5"}).rounds, 5U);
  EXPECT_TRUE(none.with_delays && none.without_delays);
  EXPECT_FALSE(parse({"--delays=on"}).without_delays);
  EXPECT_FALSE(parse({"--delays=off"}).with_delays);
  EXPECT_TRUE(parse({"--help"}).help);
}

TEST(Options, MistakesAreNamed) {
  EXPECT_EQ(refusal({"--stesp", "1"}), "there is no option --stesp; --help lists them");
  EXPECT_EQ(refusal({"--steps"}), "--steps needs a value");
  EXPECT_EQ(refusal({"--steps", "0"}), "--steps takes a whole number from 1 to 1000000, not '0'");
  EXPECT_EQ(refusal({"--steps=-1"}), "--steps takes a whole number from 1 to 1000000, not '-1'");
  EXPECT_EQ(refusal({"--steps=1e3"}), "--steps takes a whole number from 1 to 1000000, not '1e3'");
  EXPECT_EQ(refusal({"--steps="}), "--steps takes a whole number from 1 to 1000000, not ''");
  EXPECT_EQ(refusal({"--seed", "99999999999999999999"}),
            "--seed takes a whole number from 0 to 18446744073709551615, not '99999999999999999999'");
  EXPECT_EQ(refusal({"--speed", "0"}), "--speed takes a number from 0.001 to 1e+06, not '0'");
  EXPECT_EQ(refusal({"--speed", "nan"}), "--speed takes a number from 0.001 to 1e+06, not 'nan'");
  EXPECT_EQ(refusal({"--speed", "fast"}), "--speed takes a number from 0.001 to 1e+06, not 'fast'");
  EXPECT_EQ(refusal({"--streams", "3"}), "--streams takes a whole number from 1 to 2, not '3'");
  EXPECT_NE(refusal({"--max-batch", "256", "--token-budget", "255"}), "");
  EXPECT_NE(refusal({"a.csv", "b.csv"}), "");
  EXPECT_NE(refusal({"--json="}), "");
  EXPECT_NE(refusal({"--report="}), "");
  EXPECT_NE(refusal({"--trace", "a.csv", "b.csv"}), "");
  EXPECT_EQ(refusal({"--delays", "some"}), "--delays takes on, off or both, not 'some'");
  EXPECT_NE(refusal({""}), "");
}

ReplayResult some_run() {
  ReplayResult r;
  r.steps = 1000;
  r.copies = 1250;
  r.copied_bytes = 2'000'000;
  r.host_ns = {1000, 2000, 3000};
  r.upkeep_ns = {500};
  return r;
}

TEST(Report, ShowsTheMedianOfTheRunsOfEachColumn) {
  ReplayResult wrong = some_run();
  wrong.wrong_inputs[kSeqLens] = 320;
  Table table{"with delays", {}, {{"unfenced", {wrong, wrong, wrong}}, {"gpubuf", {some_run(), some_run(), some_run()}}}};
  table.columns[0].runs[0].wrong_steps = 321;
  table.columns[0].runs[1].wrong_steps = 17;
  table.columns[0].runs[2].wrong_steps = 4000;
  std::ostringstream out;
  print_table(out, table);
  EXPECT_NE(out.str().find("1.25"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("2,000"), std::string::npos);
  EXPECT_NE(out.str().find(" 321 "), std::string::npos);
  EXPECT_NE(out.str().find("17 4,000"), std::string::npos);

  Trace trace;
  trace.source = "a \"quoted\"\\path\n";
  std::ostringstream json;
  write_json(json, trace, Options{}, {table}, Figures{});
  EXPECT_NE(json.str().find(R"("a \"quoted\"\\path\u000a")"), std::string::npos) << json.str();
  EXPECT_NE(json.str().find(R"("host_ns_median": 2000)"), std::string::npos);
  EXPECT_NE(json.str().find(R"("wrong_steps": 321)"), std::string::npos);
  EXPECT_NE(json.str().find(R"("seq_lens": 320)"), std::string::npos);
  EXPECT_NE(json.str().find(R"("prediction_hits": 0)"), std::string::npos);
}

}  // namespace
}  // namespace decode_replay
