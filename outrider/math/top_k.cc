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
  count = std::min(count, scores.size());
  if (count == 0) return {};
  std::vector<std::uint64_t> keys(count);  // the best so far; a heap, the worst of them first
  for (std::size_t i = 0; i < count; ++i) keys[i] = key_of(scores[i], i);
  std::ranges::make_heap(keys);
  float worst = scores[static_cast<std::uint32_t>(keys.front())];
  for (std::size_t i = count; i < scores.size(); ++i) {
    if (scores[i] < worst) continue;
    const std::uint64_t key = key_of(scores[i], i);
    if (key > keys.front()) continue;
    std::ranges::pop_heap(keys);
    keys.back() = key;
    std::ranges::push_heap(keys);
    worst = scores[static_cast<std::uint32_t>(keys.front())];
  }
  std::ranges::sort_heap(keys);
  std::vector<std::uint32_t> chosen(count);
  for (std::size_t i = 0; i < count; ++i) chosen[i] = static_cast<std::uint32_t>(keys[i]);
  return chosen;
}

}  // namespace outrider
