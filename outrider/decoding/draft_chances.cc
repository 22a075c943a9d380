#include "outrider/decoding/draft_chances.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace outrider {
namespace {

using Features = std::array<double, 3>;

double log_odds(double probability) {
  constexpr double kMost = 6;
  return std::clamp(std::log(probability / (1 - probability)), -kMost, kMost);
}

Features features(const DraftEvidence& evidence) {
  return {1, log_odds(evidence.confidence), log_odds(evidence.recent)};
}

double predict(const Features& weights, const Features& x) {
  return 1 / (1 + std::exp(-std::inner_product(weights.begin(), weights.end(), x.begin(), 0.0)));
}

}  // namespace

double DraftChances::chance(AcceptanceRule rule, std::size_t position, const DraftEvidence& evidence) const {
  return predict(regressions_[static_cast<std::size_t>(rule)][position].weights, features(evidence));
}

void DraftChances::add(AcceptanceRule rule, std::size_t position, const DraftEvidence& evidence, bool accepted) {
  Regression& regression = regressions_[static_cast<std::size_t>(rule)][position];
  const Features x = features(evidence);
  // Gradient steps that grow smaller, and stay large enough to follow a change.
  const double rate = std::max(0.01, 0.3 / std::sqrt(10 + static_cast<double>(regression.drafts++)));
  const double error = (accepted ? 1 : 0) - predict(regression.weights, x);
  for (std::size_t i = 0; i < x.size(); ++i) regression.weights[i] += rate * error * x[i];
}

}  // namespace outrider
