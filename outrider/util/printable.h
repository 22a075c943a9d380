#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace outrider {

// Makes text from a file safe to show on a terminal: escapes control characters and invalid UTF-8, truncates at `limit`
// bytes.
std::string printable(std::string_view text, std::size_t limit = 160);

}  // namespace outrider
