#include "outrider/engine/prefill_scheduler.h"

#include <algorithm>
#include <numeric>

namespace outrider {
namespace {

// Seconds that a step may take for prompts while other requests wait for it.
constexpr double kSharedStep = 0.1;

}  // namespace

std::vector<std::size_t> PrefillScheduler::share(std::size_t budget, std::span<const std::size_t> left,
                                                 bool decoding) const {
  std::size_t of_short_prompts = 0;
  for (const std::size_t tokens : left) of_short_prompts += is_long(tokens) ? 0 : tokens;
  if (decoding || of_short_prompts != 0) {
    budget = std::min(budget, std::max({max_num_batched_tokens_ / 4, of_short_prompts, tokens_of_shared_step_}));
  }
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

void PrefillScheduler::record(std::size_t prompt_tokens, double seconds) {
  if (prompt_tokens < max_num_batched_tokens_ / 8) return;  // other things took its time
  tokens_of_shared_step_ =
      static_cast<std::size_t>(kSharedStep * static_cast<double>(prompt_tokens) / std::max(seconds, 1e-9));
}

}  // namespace outrider
