#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace outrider {

// memcmp(a, b, size) == 0, inline: for the short texts that are compared once per tensor, the call costs more than the
// comparison.
inline bool same_bytes(const char* a, const char* b, std::size_t size) {
  const auto words_differ = [&]<typename Word>(Word x, std::size_t at) {
    Word y{};
    std::memcpy(&x, a + at, sizeof(Word));
    std::memcpy(&y, b + at, sizeof(Word));
    return x != y;
  };
  // The last word overlaps the previous one if the size is not a multiple.
  if (size >= 8) {
    for (std::size_t at = 0; at + 8 < size; at += 8) {
      if (words_differ(std::uint64_t{}, at)) return false;
    }
    return !words_differ(std::uint64_t{}, size - 8);
  }
  if (size >= 4) return !words_differ(std::uint32_t{}, 0) && !words_differ(std::uint32_t{}, size - 4);
  for (std::size_t at = 0; at < size; ++at) {
    if (a[at] != b[at]) return false;
  }
  return true;
}

}  // namespace outrider
