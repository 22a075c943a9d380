#include "outrider/engine/share_budget.h"

#include <algorithm>

namespace outrider {

std::vector<std::size_t> share_budget(std::size_t budget, std::span<const std::size_t> wanted, std::size_t first) {
  std::vector<std::size_t> shares(wanted.size(), 0);
  for (;;) {
    const auto hungry = static_cast<std::size_t>(std::count_if(
        shares.begin(), shares.end(), [&](const std::size_t& s) { return s < wanted[&s - shares.data()]; }));
    if (hungry == 0 || budget == 0) return shares;
    const std::size_t each = std::max<std::size_t>(budget / hungry, 1);
    for (std::size_t i = 0; i < wanted.size() && budget != 0; ++i) {
      const std::size_t at = (first + i) % wanted.size();
      const std::size_t more = std::min({each, wanted[at] - shares[at], budget});
      shares[at] += more;
      budget -= more;
    }
  }
}

}  // namespace outrider
