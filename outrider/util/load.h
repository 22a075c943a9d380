#pragma once

#include <cstddef>
#include <cstring>

namespace outrider {

// Loads the value at an address of any alignment, or the `index`-th value after it.
template <typename T>
T load(const std::byte* at, std::size_t index = 0) {
  T value;
  std::memcpy(&value, at + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace outrider
