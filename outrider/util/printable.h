#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace outrider {

// Text from a file, safe to show on a terminal: control characters and invalid UTF-8 escaped, cut at `limit` bytes.
std::string printable(std::string_view text, std::size_t limit = 160);

}  // namespace outrider
