#pragma once

#include <cstddef>

namespace outrider {

// Raises the number of files and sockets that this process may have open as far as it may itself; returns it.
std::size_t raise_descriptor_limit();

}  // namespace outrider
