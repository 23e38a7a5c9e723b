// The state of the whole process in one text. A part of gpubuf.hpp, which says what holds for all of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#ifndef GPUBUF_HPP_REPORT_HPP
#define GPUBUF_HPP_REPORT_HPP

#include <gpubuf/hpp/library.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace gpubuf {

enum class report_format : std::uint32_t {
  text = GPUBUF_REPORT_TEXT,  ///< For people; may change at any time.
  json = GPUBUF_REPORT_JSON,  ///< For programs; its keys stay.
};

/// The library, what the system lets it have, each device with why it was chosen, its figures and its objects, and every
/// object that was not destroyed. Works after shutdown() as well. For any thread; not for the path of a step.
inline std::string report(report_format format = report_format::text) {
  std::string out(4095, '\0');
  for (;;) {
    std::size_t length = 0;
    detail::done<throwing>(gpubuf_report(detail::number(format), &out[0], out.size() + 1, &length));
    const bool whole = length <= out.size();
    // Other threads may add to it between two calls.
    out.resize(whole ? length : length + length / 8);
    if (whole) return out;
  }
}

}  // namespace gpubuf

#endif  // GPUBUF_HPP_REPORT_HPP
