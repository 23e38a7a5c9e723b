// The example of the classic race, run as its users do: what it does without the debug mode, and what that says.
#include <gtest/gtest.h>

#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

struct outcome {
  int status;
  std::string said;
};

outcome run(const std::string& environment, const std::string& arguments = "") {
  const std::string command = "exec 2>&1; " + environment + " exec '" CLASSIC_RACE "' " + arguments;
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return {-1, "no pipe"};
  std::string said;
  char part[4096];
  for (std::size_t n; (n = std::fread(part, 1, sizeof part, pipe)) > 0;) said.append(part, n);
  return {pclose(pipe), said};
}

int line_of(const std::string& text) {
  std::FILE* source = std::fopen(CLASSIC_RACE_SOURCE, "r");
  if (source == nullptr) return -1;
  char line[512];
  int number = 0;
  bool found = false;
  while (!found && std::fgets(line, sizeof line, source) != nullptr) {
    ++number;
    found = std::string(line).find(text) != std::string::npos;
  }
  std::fclose(source);
  return found ? number : -1;
}

testing::AssertionResult says(const outcome& end, const std::string& part) {
  if (end.said.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "no \"" << part << "\" in:\n" << end.said;
}

std::string at_line(const std::string& text) { return "classic_race.cpp:" + std::to_string(line_of(text)); }

TEST(ClassicRace, GoesUnnoticedWithoutTheDebugMode) {
  const outcome end = run("GPUBUF_DEBUG=0");
  EXPECT_EQ(0, end.status) << end.said;
  EXPECT_TRUE(says(end, "step 1 sent the tokens of step 2\n"));
}

TEST(ClassicRace, IsReportedWithTheCopyAndBothPlaces) {
  const outcome end = run("GPUBUF_DEBUG=1");
  ASSERT_TRUE(WIFSIGNALED(end.status)) << end.said;
  EXPECT_EQ(SIGSEGV, WTERMSIG(end.status));
  EXPECT_TRUE(says(end, "==gpubuf== a write to host memory that is in flight"));
  EXPECT_TRUE(says(end, "byte 0 of the host side of buffer \"tokens\" (4096 bytes pinned, device #"));
  EXPECT_TRUE(says(end, "in flight: a copy reads bytes 0..4096, up to stream \"copies\", sequence 1"));
  EXPECT_TRUE(says(end, at_line("tokens.to_device(stream); }")));
  EXPECT_TRUE(says(end, at_line("values[i] = step;")));
  EXPECT_TRUE(says(end, at_line("gpubuf::buffer::create<int>(device, {count});")));
}

TEST(ClassicRace, IsFoundByItsBytesInMemoryThatCannotBeProtected) {
  const outcome end = run("GPUBUF_DEBUG=1 GPUBUF_DEBUG_SEED=5", "borrowed");
  ASSERT_TRUE(WIFSIGNALED(end.status)) << end.said;
  EXPECT_EQ(SIGABRT, WTERMSIG(end.status));
  EXPECT_TRUE(says(end, "==gpubuf== a race: the bytes of a copy changed while it was in flight"));
  EXPECT_TRUE(says(end, "buffer \"tokens\" (4096 bytes pinned"));
  EXPECT_TRUE(says(end, at_line("tokens.to_device(stream); }")));
  EXPECT_TRUE(says(end, "GPUBUF_DEBUG_SEED=5"));
}

TEST(ClassicRace, AScriptTriesSeedsUntilOneFails) {
  std::FILE* pipe = popen("'" FIND_RACES "' -n 3 '" CLASSIC_RACE "' borrowed 2>&1", "r");
  ASSERT_NE(nullptr, pipe);
  std::string said;
  char part[4096];
  for (std::size_t n; (n = std::fread(part, 1, sizeof part, pipe)) > 0;) said.append(part, n);
  EXPECT_EQ(1, WEXITSTATUS(pclose(pipe))) << said;
  EXPECT_TRUE(says({0, said}, "==gpubuf== a race")) << said;
  EXPECT_TRUE(says({0, said}, "seed 1 fails")) << said;
}

}  // namespace
