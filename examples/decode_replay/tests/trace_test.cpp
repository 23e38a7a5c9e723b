#include "../trace.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <sstream>

namespace decode_replay {
namespace {

const std::string kHeader = "TIMESTAMP,ContextTokens,GeneratedTokens";

Trace read(const std::string& text) {
  std::istringstream in(text);
  return read_trace(in, "t.csv");
}

// What refuses `text`, or "" where nothing does.
std::string refusal(const std::string& text) {
  try {
    read(text);
  } catch (const TraceError& e) {
    return e.what();
  }
  return "";
}

const std::vector<Request> kTwo = {{0, 4808, 10}, {520'000, 3180, 8}};

TEST(Trace, ReadsRows) {
  const Trace trace = read(kHeader + "\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n");
  EXPECT_EQ(trace.requests, kTwo);
  EXPECT_EQ(trace.source, "t.csv");
}

TEST(Trace, ToleratesCrlfBlankLinesAndNoLastNewline) {
  const std::string rows[] = {"2023-11-16 18:17:03.9799600,4808,10", "2023-11-16 18:17:04.0319600,3180,8"};
  EXPECT_EQ(read(kHeader + "\r\n" + rows[0] + "\r\n" + rows[1] + "\r\n").requests, kTwo);
  EXPECT_EQ(read(kHeader + "\r\n" + rows[0] + "\r\n" + rows[1]).requests, kTwo);
  EXPECT_EQ(read(kHeader + "\n" + rows[0] + "\n" + rows[1]).requests, kTwo);
  EXPECT_EQ(read("\n\r\n" + kHeader + "\n\n" + rows[0] + "\r\n\r\n\n" + rows[1] + "\n\n").requests, kTwo);
  EXPECT_EQ(read("\xEF\xBB\xBF" + kHeader + "\n" + rows[0] + "\n" + rows[1] + "\n").requests, kTwo);
}

TEST(Trace, AnEmptyFileHasNoRequests) {
  EXPECT_TRUE(read("").requests.empty());
  EXPECT_TRUE(read("\n\r\n").requests.empty());
  EXPECT_TRUE(read(kHeader).requests.empty());
  EXPECT_TRUE(read(kHeader + "\r\n").requests.empty());
}

TEST(Trace, RequestsAreInTheOrderOfArrival) {
  const Trace trace = read(kHeader + "\n2023-11-16 18:17:04.0319600,3180,8\n2023-11-16 18:17:03.9799600,4808,10\n");
  EXPECT_EQ(trace.requests, kTwo);
}

TEST(Trace, TimeCrossesDaysMonthsAndLeapDays) {
  const Trace trace = read(kHeader +
                           "\n2023-12-31 23:59:59.9999999,1,0\n2024-01-01 00:00:00,1,0\n"
                           "2024-02-28 00:00:00.5,1,0\n2024-03-01 00:00:00.5,1,0\n");
  ASSERT_EQ(trace.requests.size(), 4U);
  EXPECT_EQ(trace.requests[1].arrival_ticks, 1U);
  EXPECT_EQ(trace.requests[3].arrival_ticks - trace.requests[2].arrival_ticks, 2 * 86400 * kTicksPerSecond);
}

TEST(Trace, RefusalsNameFileLineAndColumn) {
  const struct {
    const char* row;
    std::size_t column;
    const char* what;
  } cases[] = {
      {"yesterday,1,1", 1, "digit of the year"},
      {"2023-13-16 18:17:03.9799600,1,1", 6, "month is out of range"},
      {"2023-02-29 18:17:03.9799600,1,1", 9, "day is out of range"},
      {"2023-11-16T18:17:03.9799600,1,1", 11, "between date and time"},
      {"2023-11-16 24:17:03.9799600,1,1", 12, "hour is out of range"},
      {"2023-11-16 18:60:03.9799600,1,1", 15, "minute is out of range"},
      {"2023-11-16 18:17:60.9799600,1,1", 18, "second is out of range"},
      {"2023-11-16 18:17:03.,1,1", 21, "after the decimal point"},
      {"2023-11-16 18:17:03.97996001,1,1", 28, "seven fractional digits"},
      {"2023-11-16 18:17:03.9799600", 28, "the end of the line"},
      {"2023-11-16 18:17:03.9799600;1;1", 28, "after TIMESTAMP"},
      {"2023-11-16 18:17:03.9799600,,1", 29, "whole number for ContextTokens"},
      {"2023-11-16 18:17:03.9799600,-5,1", 29, "found '-'"},
      {"2023-11-16 18:17:03.9799600,0,1", 29, "ContextTokens must be at least 1"},
      {"2023-11-16 18:17:03.9799600,1.5,1", 30, "after ContextTokens"},
      {"2023-11-16 18:17:03.9799600,4294967296,1", 29, "does not fit"},
      {"2023-11-16 18:17:03.9799600,99999999999999999999999999,1", 29, "does not fit"},
      {"2023-11-16 18:17:03.9799600,1", 30, "the end of the line"},
      {"2023-11-16 18:17:03.9799600,1,", 31, "whole number for GeneratedTokens"},
      {"2023-11-16 18:17:03.9799600,1,1,1", 32, "the end of the line after"},
      {"2023-11-16 18:17:03.9799600,1,1 ", 32, "the end of the line after"},
      {"2023-11-16 18:17:03.9799600,\xFF,1", 29, "the byte 0xff"},
      {" ", 1, "digit of the year"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.row);
    // On the fourth line: blank lines count.
    const std::string message = refusal(kHeader + "\r\n2023-11-16 18:17:03.9799600,1,1\r\n\r\n" + c.row + "\r\n");
    EXPECT_EQ(message.find("t.csv:4:" + std::to_string(c.column) + ": "), 0U) << message;
    EXPECT_NE(message.find(c.what), std::string::npos) << message;
  }
}

TEST(Trace, RefusesAnotherHeader) {
  EXPECT_EQ(refusal("TIMESTAMP,ContextTokens\n").find("t.csv:1:24: "), 0U);
  EXPECT_EQ(refusal("2023-11-16 18:17:03.9799600,1,1\n").find("t.csv:1:1: "), 0U);
  EXPECT_EQ(refusal("\n" + kHeader + ",More\n").find("t.csv:2:40: "), 0U);
}

TEST(Trace, RefusesFilesThatCannotBeRead) {
  EXPECT_THROW(read_trace_file("/does/not/exist.csv"), TraceError);
  EXPECT_THROW(read_trace_file("/"), TraceError);
}

TEST(Trace, ReadsAnEmptyFile) {
  const std::string path = testing::TempDir() + "decode_replay_empty.csv";
  std::ofstream(path).close();
  EXPECT_TRUE(read_trace_file(path).requests.empty());
  std::remove(path.c_str());
}

TEST(Trace, GeneratedArrivalsHaveTheFiguresOfTheService) {
  const Trace trace = generate_trace(1, kServiceRequests);
  const TraceFigures figures = figures_of(trace);
  EXPECT_EQ(figures.requests, kServiceRequests);
  EXPECT_NEAR(figures.requests_per_second, 2.57, 0.1);
  EXPECT_NEAR(figures.median_context, kServiceMedianContext, 60);
  EXPECT_NEAR(figures.median_generated, kServiceMedianGenerated, 1);
  EXPECT_EQ(generate_trace(1, 100).requests, generate_trace(1, 100).requests);
  EXPECT_NE(generate_trace(1, 100).requests, generate_trace(2, 100).requests);
  for (const Request& r : trace.requests) {
    ASSERT_GE(r.context_tokens, 1U);
    ASSERT_LE(r.context_tokens, kServiceMaxContext);
    ASSERT_GE(r.generated_tokens, 1U);
    ASSERT_LE(r.generated_tokens, kServiceMaxGenerated);
  }
}

TEST(Trace, FiguresOfNoRequestsAreZero) {
  const TraceFigures figures = figures_of(Trace{});
  EXPECT_EQ(figures.requests, 0U);
  EXPECT_EQ(figures.requests_per_second, 0);
}

// The hour itself, where it is at hand.
TEST(Trace, SharedTrace) {
  std::ifstream there(DECODE_REPLAY_SHARED_TRACE);
  if (!there) {
    GTEST_SKIP() << "no shared trace";
  }
  const TraceFigures figures = figures_of(read_trace_file(DECODE_REPLAY_SHARED_TRACE));
  EXPECT_EQ(figures.requests, kServiceRequests);
  EXPECT_NEAR(figures.seconds, kServiceSeconds, 0.01);
  EXPECT_EQ(figures.median_context, kServiceMedianContext);
  EXPECT_EQ(figures.median_generated, kServiceMedianGenerated);
}

}  // namespace
}  // namespace decode_replay
