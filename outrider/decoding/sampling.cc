#include "outrider/decoding/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "outrider/util/error.h"

namespace outrider {
namespace {

void require(bool holds, const char* name, double value, const char* range) {
  if (!holds) throw Error(fmt::format("{} is {}; it must be {}.", name, value, range));
}

// Keeps the fewest most likely tokens whose probabilities sum to top_p, at most top_k of them; at least one.
void keep_top(std::vector<float>& p, const SamplingParams& params) {
  std::vector<std::uint32_t> order(p.size());
  std::iota(order.begin(), order.end(), 0U);
  std::size_t count = params.top_k == 0 ? p.size() : std::min<std::size_t>(params.top_k, p.size());
  const auto likelier = [&](std::uint32_t a, std::uint32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; };
  // A few hundred tokens usually reach top_p even in a large vocabulary; more are sorted only if they do not.
  constexpr std::size_t kSortedFirst = 512;
  std::size_t sorted = 0;
  const auto sort_to = [&](std::size_t end) {
    const auto at = [&](std::size_t i) { return order.begin() + static_cast<std::ptrdiff_t>(i); };
    if (end == order.size()) {
      std::sort(at(sorted), at(end), likelier);
    } else {
      std::partial_sort(at(sorted), at(end), order.end(), likelier);
    }
    sorted = end;
  };
  if (count < p.size()) sort_to(count);
  double total = 0;
  for (std::size_t i = 0; i < count; ++i) total += static_cast<double>(p[order[i]]);
  double reached = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i == sorted) sort_to(std::min(count, std::max(kSortedFirst, 8 * sorted)));
    reached += static_cast<double>(p[order[i]]);
    if (reached >= params.top_p * total) {
      count = i + 1;
      break;
    }
  }
  for (std::size_t i = count; i < order.size(); ++i) p[order[i]] = 0;
}

}  // namespace

void validate(const SamplingParams& params) {
  require(params.temperature >= 0 && std::isfinite(params.temperature), "temperature", params.temperature,
          "0 (greedy) or more");
  require(params.top_p > 0 && params.top_p <= 1, "top_p", params.top_p, "above 0 and at most 1");
  require(params.min_p >= 0 && params.min_p <= 1, "min_p", params.min_p, "from 0 to 1");
  // Beyond these limits, penalised logits would overflow a float.
  require(params.repetition_penalty >= 1e-6 && params.repetition_penalty <= 1e6, "repetition_penalty",
          params.repetition_penalty, "from 1e-6 to 1e6");
  require(std::abs(params.presence_penalty) <= 2, "presence_penalty", params.presence_penalty, "from -2 to 2");
  require(std::abs(params.frequency_penalty) <= 2, "frequency_penalty", params.frequency_penalty, "from -2 to 2");
  for (const SamplingParams::Bias& bias : params.logit_bias) {
    require(std::abs(bias.bias) <= 100, "logit_bias", static_cast<double>(bias.bias), "from -100 to 100");
  }
}

void TokenHistory::penalize(const SamplingParams& params, std::span<float> logits) const {
  if (!params.penalizes()) return;
  const auto repetition = static_cast<float>(params.repetition_penalty);
  for (const auto& [token, counts] : seen_) {
    if (token >= logits.size() || counts.prompt + counts.written == 0) continue;
    float& logit = logits[token];
    logit = logit > 0 ? logit / repetition : logit * repetition;
    if (counts.written != 0) {
      logit -= static_cast<float>(params.presence_penalty + params.frequency_penalty * counts.written);
    }
  }
}

Distribution::Distribution(std::span<const float> logits, const SamplingParams& params) {
  for (std::uint32_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best_]) best_ = i;
  }
  none_ = logits[best_] == -std::numeric_limits<float>::infinity();
  if (none_ || params.greedy()) return;
  probabilities_.resize(logits.size());
  const double highest = static_cast<double>(logits[best_]);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double p = std::exp((static_cast<double>(logits[i]) - highest) / params.temperature);
    probabilities_[i] = p >= params.min_p ? static_cast<float>(p) : 0.0F;
  }
  if (params.top_k != 0 || params.top_p < 1) keep_top(probabilities_, params);
  double total = 0;
  for (const float p : probabilities_) total += static_cast<double>(p);
  for (float& p : probabilities_) p = static_cast<float>(static_cast<double>(p) / total);
}

// SplitMix64 (Steele, Lea and Flood 2014).
std::uint64_t PositionNoise::mixed(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double Distribution::probability(std::uint32_t token) const {
  if (probabilities_.empty()) return token == best_ && !none_ ? 1 : 0;
  return token < probabilities_.size() ? static_cast<double>(probabilities_[token]) : 0;
}

std::uint32_t Distribution::sample(Random& random) const {
  if (probabilities_.empty()) return best_;
  // The probabilities sum to 1 except for rounding; the remainder goes to the most likely token.
  double left = random.uniform();
  for (std::uint32_t i = 0; i < probabilities_.size(); ++i) {
    left -= static_cast<double>(probabilities_[i]);
    if (left < 0) return i;
  }
  return best_;
}

std::uint32_t Distribution::sample(const PositionNoise& noise) const {
  std::uint32_t best = best_;
  double least = INFINITY;  // -log u / p: the Gumbel noise is -log -log u
  for (std::uint32_t i = 0; i < probabilities_.size(); ++i) {
    const auto p = static_cast<double>(probabilities_[i]);
    if (p == 0) continue;
    const double u = noise.uniform(i);
    if (u <= 1 - least * p) continue;  // as -log u >= 1 - u
    const double arrival = -std::log(u) / p;
    if (arrival >= least) continue;
    least = arrival;
    best = i;
  }
  return best;
}

std::uint32_t Distribution::sample_beyond(const Distribution& other, Random& random) const {
  if (probabilities_.empty()) return best_;
  double total = 0;
  for (std::uint32_t i = 0; i < probabilities_.size(); ++i) {
    total += std::max(0.0, probability(i) - other.probability(i));
  }
  if (total <= 0) return sample(random);
  double left = random.uniform() * total;
  std::uint32_t last = best_;
  for (std::uint32_t i = 0; i < probabilities_.size(); ++i) {
    const double beyond = std::max(0.0, probability(i) - other.probability(i));
    if (beyond == 0) continue;
    last = i;
    left -= beyond;
    if (left < 0) break;
  }
  return last;
}

}  // namespace outrider
