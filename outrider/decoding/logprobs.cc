#include "outrider/decoding/logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace outrider {

TokenLogprobs logprobs(std::span<const float> logits, std::uint32_t token, std::size_t top) {
  const double highest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit) - highest);
  const double log_total = highest + std::log(total);
  const auto logprob = [&](std::uint32_t id) {
    return static_cast<float>(static_cast<double>(logits[id]) - log_total);
  };

  TokenLogprobs out;
  out.logprob = logprob(token);
  if (top == 0) return out;
  std::vector<std::uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(top, order.size()));
  std::partial_sort(order.begin(), end, order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  for (auto id = order.begin(); id != end; ++id) out.top.push_back({*id, logprob(*id)});
  return out;
}

double highest_probability(std::span<const float> logits) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  float total = 0;
  for (const float logit : logits) total += std::exp(logit - highest);
  return 1 / static_cast<double>(total);
}

}  // namespace outrider
