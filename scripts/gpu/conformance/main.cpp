// One script of driver calls, told as lines `name = answer`: run on a real driver and on the stand-in, and compared.
//
//   gpu_conformance [--driver PATH] [--list] [GROUP...]
//
// Answers are codes, bytes and orders, never times or handles. Each group is to be run in a process of its own, so that one
// which hangs or breaks the context takes nothing else with it; without a group they all run, one after another.
#include "kit.hpp"

#include <cstring>

namespace {

struct Group {
  const char* name;
  void (*run)();
};

const Group groups[] = {
    {"copies", copies}, {"order", order}, {"events", events}, {"capture_modes", capture_modes},
    {"capture_shapes", capture_shapes}, {"capture_copies", capture_copies}, {"memory", memory}, {"contexts", contexts},
    {"fills", fills}, {"values", values}, {"blocking", blocking}, {"legacy_held", legacy_held}, {"host_function", host_function},
};

}  // namespace

int main(int count, char** arguments) {
  std::string path = cu::path_of_library();
  std::vector<std::string> wanted;
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--list") {
      for (const Group& group : groups) std::printf("%s\n", group.name);
      return 0;
    }
    if (argument == "--driver" && i + 1 < count) {
      path = arguments[++i];
    } else {
      wanted.push_back(argument);
    }
  }
  cu::load(path);
  Session session;
  int ran = 0;
  for (const Group& group : groups) {
    bool asked = wanted.empty();
    for (const std::string& name : wanted) asked |= name == group.name;
    if (!asked) continue;
    prefix(group.name);
    group.run();
    ++ran;
  }
  if (ran == 0) cu::fail("no such group; --list names them");
  return 0;
}
