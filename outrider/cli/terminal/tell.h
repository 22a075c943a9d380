#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace outrider {

// Writes to standard error. Ignores failures, unlike fmt::print, which throws.
void tell_text(std::string_view text);

template <typename... Args>
void tell(fmt::format_string<Args...> format, Args&&... args) {
  tell_text(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace outrider
