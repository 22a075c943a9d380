#pragma once

#include <cstdint>

namespace outrider {

// Bytes that this process can still take without swapping: the least of what the system has available (page cache that
// can be given back included), what its control group allows, and its own limits (ulimit -v, -d).
std::uint64_t available_memory();

}  // namespace outrider
