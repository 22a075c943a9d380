#pragma once

#include <cstdint>

namespace outrider {

// The number of bytes that this process can still allocate without swapping: the minimum of the system's available
// memory (reclaimable page cache included), its control group's limit, and its own limits (ulimit -v, -d).
std::uint64_t available_memory();
// The most that it may ever be: the machine's memory, the control groups' limits and the process's own.
std::uint64_t total_memory();

}  // namespace outrider
