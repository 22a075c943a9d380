#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace outrider {

// Writes to standard error. What cannot be written there is lost, and is no reason to end what runs (fmt::print
// throws).
void tell_text(std::string_view text);

template <typename... Args>
void tell(fmt::format_string<Args...> format, Args&&... args) {
  tell_text(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace outrider
