#pragma once

#include <cstdint>
#include <string>

namespace outrider {

// Formats a size: "1.2 GiB".
std::string bytes_text(std::uint64_t bytes);

}  // namespace outrider
