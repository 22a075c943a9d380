#include "outrider/decoding/logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace outrider {

namespace {

class LogSoftmax {
 public:
  explicit LogSoftmax(std::span<const float> logits) : logits_(logits) {
    const double highest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
    double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit) - highest);
    log_total_ = highest + std::log(total);
  }
  float operator()(std::uint32_t id) const { return static_cast<float>(static_cast<double>(logits_[id]) - log_total_); }

 private:
  std::span<const float> logits_;
  double log_total_ = 0;
};

std::uint32_t rank_of(std::span<const float> logits, std::uint32_t token) {
  return 1 + static_cast<std::uint32_t>(std::ranges::count_if(logits, [&](float l) { return l > logits[token]; }));
}

}  // namespace

TokenLogprobs logprobs(std::span<const float> logits, std::uint32_t token, std::size_t top) {
  std::vector<std::uint32_t> order;
  if (top != 0) {
    order.resize(logits.size());
    std::iota(order.begin(), order.end(), 0U);
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(top, order.size()));
    std::partial_sort(order.begin(), end, order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    order.erase(end, order.end());
  }
  return logprobs(logits, token, order);
}

TokenLogprobs logprobs(std::span<const float> logits, std::uint32_t token, std::span<const std::uint32_t> listed) {
  const LogSoftmax logprob(logits);
  TokenLogprobs out{logprob(token), rank_of(logits, token), {}};
  for (const std::uint32_t id : listed) out.top.push_back({id, logprob(id)});
  return out;
}

double highest_probability(std::span<const float> logits) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  float total = 0;
  for (const float logit : logits) total += std::exp(logit - highest);
  return 1 / static_cast<double>(total);
}

}  // namespace outrider
