#include "outrider/decoding/sampling.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "outrider/util/error.h"

namespace outrider {
namespace {

const std::vector<float> kLogits = {1.0F, 3.0F, 2.0F, 3.0F, -1.0F};

SamplingParams at_temperature(double temperature) {
  SamplingParams params;
  params.temperature = temperature;
  return params;
}

TEST(Sampling, GreedyTakesTheFirstOfTheHighest) {
  const Distribution d(kLogits, {});
  Random random(1);
  EXPECT_EQ(d.sample(random), 1U);
  EXPECT_EQ(d.probability(1), 1);
  EXPECT_EQ(d.probability(3), 0);
}

TEST(Sampling, ProbabilitiesAreTheSoftmax) {
  const Distribution d(kLogits, at_temperature(0.5));
  double total = 0;
  for (const float logit : kLogits) total += std::exp(static_cast<double>(logit) / 0.5);
  for (std::uint32_t i = 0; i < kLogits.size(); ++i) {
    EXPECT_NEAR(d.probability(i), std::exp(static_cast<double>(kLogits[i]) / 0.5) / total, 1e-6);
  }
}

TEST(Sampling, TopKKeepsTheMostLikely) {
  SamplingParams params = at_temperature(1);
  params.top_k = 3;
  const Distribution d(kLogits, params);
  EXPECT_EQ(d.probability(0), 0);
  EXPECT_EQ(d.probability(4), 0);
  EXPECT_NEAR(d.probability(1) + d.probability(2) + d.probability(3), 1, 1e-6);
}

TEST(Sampling, TopPKeepsTheFewestTokensThatReachIt) {
  SamplingParams params = at_temperature(1);
  const Distribution all(kLogits, params);
  params.top_p = all.probability(1) + 0.01;
  const Distribution two(kLogits, params);
  EXPECT_NEAR(two.probability(1), 0.5, 1e-6);
  EXPECT_NEAR(two.probability(3), 0.5, 1e-6);
  params.top_p = 1e-9;
  EXPECT_EQ(Distribution(kLogits, params).probability(1), 1);
}

TEST(Sampling, TopPOfALargeVocabulary) {
  // Token i has the probability (i + 1) / total; the order of the tokens is scrambled.
  constexpr std::uint32_t kTokens = 20'000;
  constexpr std::uint32_t kStep = 7919;  // coprime to kTokens
  std::vector<float> logits(kTokens);
  double total = 0;
  for (std::uint32_t i = 0; i < kTokens; ++i) {
    logits[i * kStep % kTokens] = std::log(static_cast<float>(i + 1));
    total += i + 1;
  }
  for (const double top_p : {0.01, 0.3, 0.99}) {
    SamplingParams params = at_temperature(1);
    params.top_p = top_p;
    const Distribution d(logits, params);
    double left_out = 0;
    std::uint32_t first = 0;
    while (left_out + first + 1 <= (1 - top_p) * total) left_out += ++first;
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < kTokens; ++i) {
      if (d.probability(i * kStep % kTokens) == 0) continue;
      ++kept;
      EXPECT_GE(i + 1, first) << top_p;
    }
    EXPECT_NEAR(kept, kTokens - first, 1) << top_p;
  }
}

// By seed and by position, and of two tokens at a time: neither follows from the other.
TEST(Sampling, NoiseOfPositionsGivesTheDistribution) {
  constexpr std::uint32_t kTokens = 50;
  std::vector<float> logits(kTokens);
  for (std::uint32_t i = 0; i < kTokens; ++i) logits[i] = std::log(static_cast<float>(1 + i % 5));
  const Distribution d(logits, at_temperature(1));
  constexpr std::size_t kDraws = 200'000;
  for (const bool by_seed : {false, true}) {
    std::vector<double> counts(kTokens);
    std::array<std::array<double, 5>, 5> pairs{};
    std::uint32_t before = 0;
    for (std::size_t n = 0; n < kDraws; ++n) {
      const std::uint32_t token = d.sample(by_seed ? PositionNoise(n, 3) : PositionNoise(3, n));
      ++counts[token];
      if (n != 0) ++pairs[before % 5][token % 5];
      before = token;
    }
    double statistic = 0;
    for (std::uint32_t i = 0; i < kTokens; ++i) {
      const double expected = d.probability(i) * kDraws;
      statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    EXPECT_LT(statistic, (kTokens - 1) + 4 * std::sqrt(2.0 * (kTokens - 1))) << by_seed;
    double of_pairs = 0;
    for (std::size_t a = 0; a < 5; ++a) {
      for (std::size_t b = 0; b < 5; ++b) {
        const double expected = static_cast<double>((a + 1) * (b + 1)) / 225 * (kDraws - 1);
        of_pairs += (pairs[a][b] - expected) * (pairs[a][b] - expected) / expected;
      }
    }
    EXPECT_LT(of_pairs, 24 + 4 * std::sqrt(48.0)) << by_seed;
  }
}

TEST(Sampling, MinPIsRelativeToTheMostLikely) {
  SamplingParams params = at_temperature(1);
  params.min_p = std::exp(-1.5);  // 3 - 2 = 1 passes, 3 - 1 = 2 does not
  const Distribution d(kLogits, params);
  EXPECT_GT(d.probability(2), 0);
  EXPECT_EQ(d.probability(0), 0);
}

TEST(Sampling, PenaltiesCountPromptAndOutput) {
  TokenHistory history;
  history.add_prompt(0);
  history.add(1);
  history.add(1);
  history.add(2);
  history.remove(2);
  SamplingParams params;
  params.repetition_penalty = 2;
  params.presence_penalty = 0.5;
  params.frequency_penalty = 0.25;
  std::vector<float> logits = {-1, 4, 2};
  history.penalize(params, logits);
  EXPECT_FLOAT_EQ(logits[0], -2);
  EXPECT_FLOAT_EQ(logits[1], 4.0F / 2 - 0.5F - 2 * 0.25F);
  EXPECT_FLOAT_EQ(logits[2], 2);
}

TEST(Sampling, RefusesValuesOutOfRange) {
  for (const auto& change : std::vector<void (*)(SamplingParams&)>{
           [](SamplingParams& p) { p.temperature = -1; }, [](SamplingParams& p) { p.top_p = 0; },
           [](SamplingParams& p) { p.top_p = 1.1; }, [](SamplingParams& p) { p.min_p = 2; },
           [](SamplingParams& p) { p.repetition_penalty = 0; }, [](SamplingParams& p) { p.repetition_penalty = 1e-38; },
           [](SamplingParams& p) { p.repetition_penalty = 1e39; },
           [](SamplingParams& p) { p.presence_penalty = NAN; }}) {
    SamplingParams params;
    change(params);
    EXPECT_THROW(validate(params), Error);
  }
}

}  // namespace
}  // namespace outrider
