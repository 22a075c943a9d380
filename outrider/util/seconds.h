#pragma once

#include <chrono>

namespace outrider {

inline double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace outrider
