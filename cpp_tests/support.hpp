// What the tests share: statuses compared by name, and a device with a stream that can be held shut.
#pragma once

#include <gpubuf/gpubuf.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

namespace test {

inline gpubuf::status code(gpubuf::status s) { return s; }
inline gpubuf::status code(gpubuf_status s) { return static_cast<gpubuf::status>(s); }
template <class T>
gpubuf::status code(const gpubuf::result<T>& r) { return r.status(); }

/// For calls that may answer anything, as long as they answer.
inline void any_status(gpubuf_status) {}

struct same_status {
  template <class A, class B>
  testing::AssertionResult operator()(const char*, const char* call, const A& expected, const B& actual) const {
    if (code(expected) == code(actual)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << call << "\n  answered " << gpubuf::status_name(code(actual)) << ", expected "
                                       << gpubuf::status_name(code(expected)) << "\n  last message: " << gpubuf::last_error_message();
  }
};

/// The backend under test: that of GPUBUF_BACKEND, else the host's, whatever the machine has.
inline gpubuf::backend backend() {
  const char* name = std::getenv("GPUBUF_BACKEND");
  return name != nullptr && std::string(name) == "cuda" ? gpubuf::backend::cuda : gpubuf::backend::host;
}

/// Whether a copy can fail when it runs and leave the device whole: never with the CUDA driver.
inline bool copies_fail_alone() { return backend() == gpubuf::backend::host; }

/// 0, 1, 2, ... from `first` on.
template <class T>
std::vector<T> ramp(std::size_t count, T first = T{}) {
  std::vector<T> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

/// The elements of a guard or span, to be compared.
template <class Elements>
auto copy_of(const Elements& elements) {
  using value = std::remove_cv_t<std::remove_reference_t<decltype(elements[0])>>;
  return std::vector<value>(elements.data(), elements.data() + elements.size());
}

class Device : public testing::Test {
 protected:
  gpubuf::device device = gpubuf::device::open(backend());
  gpubuf::stream stream = gpubuf::stream::create(device);
};

}  // namespace test

/// The call answers this status: a gpubuf::status, a gpubuf_status, or a gpubuf::result.
#define EXPECT_STATUS(expected, ...) EXPECT_PRED_FORMAT2(::test::same_status{}, expected, (__VA_ARGS__))
#define ASSERT_STATUS(expected, ...) ASSERT_PRED_FORMAT2(::test::same_status{}, expected, (__VA_ARGS__))
#define EXPECT_OK(...) EXPECT_STATUS(GPUBUF_OK, __VA_ARGS__)
#define ASSERT_OK(...) ASSERT_STATUS(GPUBUF_OK, __VA_ARGS__)

/// The throwing form throws gpubuf::error with this status.
#define EXPECT_ERROR(expected, ...)                                          \
  do {                                                                       \
    try {                                                                    \
      static_cast<void>(__VA_ARGS__);                                        \
      ADD_FAILURE() << #__VA_ARGS__ << " threw nothing";                     \
    } catch (const gpubuf::error& thrown) {                                  \
      EXPECT_STATUS(expected, thrown.status()) << "  what: " << thrown.what(); \
    }                                                                        \
  } while (false)
