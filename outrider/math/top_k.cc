#include "outrider/math/top_k.h"

#include <algorithm>
#include <bit>

namespace outrider {
namespace {

// Orders by descending score, then by position: the smallest key is the first choice.
std::uint64_t key_of(float score, std::size_t position) {
  std::uint32_t rank = 0;
  if (score == score) {
    const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);  // -0 and 0 are equal scores
    rank = (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
  }
  return static_cast<std::uint64_t>(~rank) << 32 | position;
}

}  // namespace

std::vector<std::uint32_t> top_k(std::span<const float> scores, std::size_t count) {
  std::vector<std::uint64_t> keys(scores.size());
  for (std::size_t i = 0; i < scores.size(); ++i) keys[i] = key_of(scores[i], i);
  count = std::min(count, keys.size());
  const auto end = keys.begin() + static_cast<std::ptrdiff_t>(count);
  if (end != keys.end()) std::nth_element(keys.begin(), end, keys.end());
  std::sort(keys.begin(), end);
  std::vector<std::uint32_t> chosen(count);
  for (std::size_t i = 0; i < count; ++i) chosen[i] = static_cast<std::uint32_t>(keys[i]);
  return chosen;
}

}  // namespace outrider
