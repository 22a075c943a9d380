#pragma once

#include <cstddef>
#include <cstring>

namespace outrider {

// The value at an address of any alignment, or the one `index` such values behind it.
template <typename T>
T load(const std::byte* at, std::size_t index = 0) {
  T value;
  std::memcpy(&value, at + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace outrider
