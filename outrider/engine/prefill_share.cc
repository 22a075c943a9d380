#include "outrider/engine/prefill_share.h"

#include <algorithm>
#include <numeric>

namespace outrider {

std::vector<std::size_t> share_prefill(std::size_t budget, std::span<const std::size_t> left) {
  std::vector<std::size_t> shares(left.size());
  const auto give = [&](std::size_t i, std::size_t at_most) {
    const std::size_t tokens = std::min({left[i] - shares[i], at_most, budget});
    shares[i] += tokens;
    budget -= tokens;
  };
  if (!left.empty()) give(0, (budget + 3) / 4);
  std::vector<std::size_t> order(left.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return left[i]; });
  for (const std::size_t i : order) give(i, budget);
  return shares;
}

}  // namespace outrider
