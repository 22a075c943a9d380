// Tests that rejection sampling preserves the verifier's distribution, with a test that detects samplers that do not.

#include "outrider/decoding/rejection.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <vector>

namespace outrider {
namespace {

constexpr std::size_t kVocabulary = 6;
constexpr std::size_t kTrials = 60'000;

SamplingParams warm() {
  SamplingParams params;
  params.temperature = 1;
  return params;
}

const Distribution kVerifierFirst({std::vector<float>{0.0F, 1.0F, 2.0F, 0.5F, -1.0F, 1.5F}}, warm());
const Distribution kVerifierSecond({std::vector<float>{1.0F, 0.0F, -1.0F, 2.0F, 0.2F, 0.3F}}, warm());
const Distribution kDrafter({std::vector<float>{1.5F, 0.0F, 1.0F, 2.0F, -2.0F, 0.5F}}, warm());

using Counts = std::array<double, kVocabulary>;

// Pearson's statistic of observed counts against a distribution.
double chi_square(const Counts& observed, const Distribution& expected) {
  double total = 0;
  for (const double n : observed) total += n;
  double sum = 0;
  for (std::uint32_t i = 0; i < kVocabulary; ++i) {
    const double e = total * expected.probability(i);
    sum += (observed[i] - e) * (observed[i] - e) / e;
  }
  return sum;
}

// With 5 degrees of freedom a correct sampler exceeds this once in 10^5 runs; the seeds are fixed.
constexpr double kLimit = 30.86;

template <typename Verify>
Counts first_tokens(const Verify& verify_one) {
  Random random(7);
  Counts counts{};
  for (std::size_t i = 0; i < kTrials; ++i) {
    const std::vector<DraftToken> draft = {{kDrafter.sample(random), kDrafter}};
    ++counts[verify_one(draft, random)];
  }
  return counts;
}

TEST(Rejection, TheFirstTokenHasTheVerifiersDistribution) {
  const std::vector<Distribution> verifier = {kVerifierFirst, kVerifierSecond};
  std::size_t accepted = 0;
  const Counts counts = first_tokens([&](const std::vector<DraftToken>& draft, Random& random) {
    const Verdict verdict = verify(draft, verifier, random);
    accepted += verdict.accepted;
    return verdict.accepted == 1 ? draft[0].id : verdict.next;
  });
  EXPECT_LT(chi_square(counts, kVerifierFirst), kLimit);
  // The acceptance rate is the overlap of p and q.
  double common = 0;
  for (std::uint32_t i = 0; i < kVocabulary; ++i) {
    common += std::min(kVerifierFirst.probability(i), kDrafter.probability(i));
  }
  EXPECT_NEAR(static_cast<double>(accepted) / kTrials, common, 0.01);
}

TEST(Rejection, TheBonusTokenHasTheVerifiersDistribution) {
  const std::vector<Distribution> verifier = {kVerifierFirst, kVerifierSecond};
  Random random(11);
  Counts counts{};
  for (std::size_t i = 0; i < kTrials; ++i) {
    const std::vector<DraftToken> draft = {{kDrafter.sample(random), kDrafter}};
    const Verdict verdict = verify(draft, verifier, random);
    if (verdict.accepted == 1) ++counts[verdict.next];
  }
  EXPECT_LT(chi_square(counts, kVerifierSecond), kLimit);
}

TEST(Rejection, TheTestDetectsWrongSamplers) {
  // Accepts correctly, but after a rejection samples from p instead of max(p - q, 0).
  const Counts from_p = first_tokens([&](const std::vector<DraftToken>& draft, Random& random) {
    const double p = kVerifierFirst.probability(draft[0].id);
    const double q = kDrafter.probability(draft[0].id);
    return random.uniform() * q < p ? draft[0].id : kVerifierFirst.sample(random);
  });
  EXPECT_GT(chi_square(from_p, kVerifierFirst), 10 * kLimit);
  // Accepts the draft tokens that the verifier finds likely, ignoring the drafter's probability.
  const Counts by_p_alone = first_tokens([&](const std::vector<DraftToken>& draft, Random& random) {
    return random.uniform() < kVerifierFirst.probability(draft[0].id) ? draft[0].id
                                                                      : kVerifierFirst.sample_beyond(kDrafter, random);
  });
  EXPECT_GT(chi_square(by_p_alone, kVerifierFirst), 10 * kLimit);
}

TEST(Rejection, AGreedyDrafterIsACertainDraft) {
  const std::vector<Distribution> verifier = {kVerifierFirst, kVerifierSecond};
  Random random(13);
  Counts counts{};
  const std::vector<DraftToken> draft = {{3, Distribution::point(3)}};
  for (std::size_t i = 0; i < kTrials; ++i) {
    const Verdict verdict = verify(draft, verifier, random);
    ++counts[verdict.accepted == 1 ? draft[0].id : verdict.next];
  }
  EXPECT_LT(chi_square(counts, kVerifierFirst), kLimit);
}

TEST(Rejection, GreedyAcceptsExactlyTheVerifiersChoices) {
  const auto sure = [](std::uint32_t token) {
    std::vector<float> logits(kVocabulary);
    logits[token] = 1;
    return Distribution(logits, {});
  };
  const std::vector<DraftToken> drafts = {{2, sure(2)}, {4, Distribution::point(4)}, {1, sure(1)}};
  Random random(1);
  const Verdict second_differs = verify(drafts, std::vector{sure(2), sure(3), sure(1), sure(0)}, random);
  EXPECT_EQ(second_differs.accepted, 1U);
  EXPECT_EQ(second_differs.next, 3U);
  const Verdict ends_early = verify(drafts, std::vector{sure(2), sure(3)}, random);
  EXPECT_EQ(ends_early.accepted, 1U);
  EXPECT_EQ(ends_early.next, 3U);
  const Verdict all_agree = verify(drafts, std::vector{sure(2), sure(4), sure(1), sure(0)}, random);
  EXPECT_EQ(all_agree.accepted, 3U);
  EXPECT_EQ(all_agree.next, 0U);
}

}  // namespace
}  // namespace outrider
