// The report: the state of the whole process in one text, for people and for programs.
#include "support.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

using gpubuf::no_throw;
using gpubuf::report_format;

namespace {

/// Runs Python with the report as `report`; what it prints.
std::string python(const std::string& program) {
  const std::string file = testing::TempDir() + "gpubuf_report_" + std::to_string(::getpid());
  std::ofstream(file) << gpubuf::report(report_format::json);
  std::ofstream(file + ".py") << "import json\nreport = json.load(open('" << file << "', encoding='utf-8'))\n"
                              << "device = report['devices'][-1]\nparts = device.get('parts', [])\n" << program;
  std::string out;
  if (FILE* pipe = ::popen(("python3 " + file + ".py 2>&1").c_str(), "r")) {
    char part[256];
    while (std::fgets(part, sizeof part, pipe) != nullptr) out += part;
    ::pclose(pipe);
  }
  std::remove(file.c_str());
  std::remove((file + ".py").c_str());
  return out;
}

bool has_python() { return std::system("python3 -c pass") == 0; }

class Report : public test::Device {
 protected:
  void SetUp() override {
    if (!has_python()) GTEST_SKIP() << "no python3 to read the report with";
  }
};

}  // namespace

TEST_F(Report, SaysWhichLibraryItIs) {
  EXPECT_EQ(std::string(gpubuf::version_string()) + "\n", python("print(report['library']['version'])\nassert report['report'] == 1"));
  EXPECT_EQ("True True\n", python("print(report['library']['uptime_ns'] > 0, report['library']['process'] == " + std::to_string(::getpid()) + ")"));
}

TEST_F(Report, HasEachDeviceWithTheReasonForIt) {
  const auto second = gpubuf::device::open(test::backend());
  gpubuf::set_label(second, "the \"second\" \\ one\n\t\x01 \xc3\xa9");
  EXPECT_EQ("2\n", python("print(len(report['devices']))"));
  EXPECT_EQ("device \"the \"second\" \\ one\n\t\x01 \xc3\xa9\"\n", python("import sys\nsys.stdout.buffer.write(device['name'].encode() + b'\\n')"));
  EXPECT_EQ(second.why_backend() + "\n", python("print(device['reason'])"));
  EXPECT_EQ(second.name() + "\n", python("print(device['hardware'])"));
}

TEST_F(Report, HasTheFiguresByTheirNamesInC) {
  auto buffer = gpubuf::buffer::create<float>(device, {1024});
  buffer.to_device(stream);
  stream.synchronize();
  const auto stats = device.stats();
  const std::string figures = std::to_string(stats.pinned_bytes) + " " + std::to_string(stats.device_peak_bytes) + " " +
                              std::to_string(stats.copies) + " " + std::to_string(stats.copied_bytes) + " " +
                              std::to_string(stats.allocations) + " " + std::to_string(stats.fences_recorded) + "\n";
  EXPECT_EQ(figures, python("print(*(device[key] for key in ('pinned_bytes', 'device_peak_bytes', 'copies', 'copied_bytes', "
                            "'allocations', 'fences_recorded')))"));
}

TEST_F(Report, HasStreamsAndPools) {
  const auto pool = gpubuf::pool::create(device, 64, 3);
  gpubuf::set_label(pool, "inputs");
  EXPECT_EQ("stream pool \"inputs\" 3\n",
            python("stream = [p for p in parts if p['kind'] == 'stream'][0]\npool = [p for p in parts if p['kind'] == 'pool'][0]\n"
                   "print(stream['kind'], pool['name'], pool['free_blocks'])"));
}

TEST_F(Report, HasWhatAProbeFound) {
  EXPECT_EQ("0\n", python("print(len([p for p in parts if p['kind'] == 'capability']))"));
  device.probe();
  EXPECT_EQ("yes " + device.why(gpubuf::capability::pinned_memory) + "\n",
            python("found = {p['name']: p for p in parts if p['kind'] == 'capability'}\n"
                   "print(found['pinned_memory']['answer'], found['pinned_memory']['reason'])"));
}

TEST_F(Report, HasWhatWasNotDestroyed) {
  auto buffer = gpubuf::buffer::create<float>(device, {16});
  gpubuf::set_label(buffer, "weights");
  const std::string find = "print([(o['kind'], o['bytes'], o['site']) for o in report['live_objects'] if 'weights' in o['name']])";
  EXPECT_EQ("[('buffer', 128, None)]\n", python(find)) << "sites are tracked with GPUBUF_TRACK=1 only";
  buffer.reset();
  EXPECT_EQ("[]\n", python(find));
}

TEST_F(Report, CanBeTakenWhileOthersWork) {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      const auto pool = gpubuf::pool::create(device, 64, 2);
      const auto block = pool.acquire();
      const auto event = gpubuf::event::create(device);
    }
  });
  for (int i = 0; i < 5; ++i) EXPECT_EQ("fine\n", python("print('fine')"));
  stop = true;
  other.join();
}

TEST_F(Report, CanBeTakenInACallback) {
  std::string text;
  gpubuf::set_log([&](gpubuf::log_level, const char*) { text = gpubuf::report(); });
  EXPECT_OK(gpubuf::device::open<no_throw>(test::backend())) << "which is told";
  gpubuf::set_log({});
  EXPECT_NE(std::string::npos, text.find("live objects")) << text;
}

TEST_F(Report, ForPeopleLeavesOutWhatSaysNothing) {
  const std::string text = gpubuf::report();
  EXPECT_NE(std::string::npos, text.find(device.why_backend())) << text;
  EXPECT_NE(std::string::npos, text.find("live objects: 2")) << text;
  EXPECT_EQ(std::string::npos, text.find("quarantined")) << text;
}

TEST(ReportInC, IsCutToFitAndTellsItsLength) {
  char few[8];
  std::size_t length = 0;
  EXPECT_OK(gpubuf_report(GPUBUF_REPORT_TEXT, few, sizeof few, &length));
  EXPECT_EQ(7u, std::string(few).size());
  EXPECT_GT(length, 7u);
  EXPECT_OK(gpubuf_report(GPUBUF_REPORT_JSON, nullptr, 0, &length));
  EXPECT_STATUS(GPUBUF_INVALID_ARGUMENT, gpubuf_report(2, few, sizeof few, &length));
}
