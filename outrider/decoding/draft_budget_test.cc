#include "outrider/decoding/draft_budget.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace outrider {
namespace {

constexpr auto kGreedy = AcceptanceRule::kGreedy;
constexpr auto kSampled = AcceptanceRule::kSampled;

TEST(DraftChances, BeginWithTheConfidence) {
  const DraftChances chances;
  for (const double confidence : {0.1, 0.5, 0.9}) {
    EXPECT_NEAR(chances.chance(kGreedy, 0, {confidence, 0.5}), confidence, 1e-9);
    EXPECT_GT(chances.chance(kGreedy, 0, {confidence, 0.8}), confidence);
  }
  EXPECT_LT(chances.chance(kGreedy, 0, {0, 0.5}), 0.01);
  EXPECT_GT(chances.chance(kGreedy, 0, {1, 0.5}), 0.99);
}

TEST(DraftChances, LearnWhatAConfidenceIsWorthAtEachPosition) {
  DraftChances chances;
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform;
  // Overconfident at the first position; right, but never when sampling, at the second.
  const auto truth = [](double confidence) {
    return 1 / (1 + std::exp(0.5 - 0.5 * std::log(confidence / (1 - confidence))));
  };
  for (int i = 0; i < 20'000; ++i) {
    const double confidence = 0.05 + 0.9 * uniform(random);
    chances.add(kGreedy, 0, {confidence, 0.5}, uniform(random) < truth(confidence));
    chances.add(kGreedy, 1, {confidence, 0.5}, uniform(random) < confidence);
    chances.add(kSampled, 1, {confidence, 0.5}, false);
  }
  for (const double confidence : {0.3, 0.6, 0.9}) {
    EXPECT_NEAR(chances.chance(kGreedy, 0, {confidence, 0.5}), truth(confidence), 0.08);
    EXPECT_NEAR(chances.chance(kGreedy, 1, {confidence, 0.5}), confidence, 0.08);
    EXPECT_LT(chances.chance(kSampled, 1, {confidence, 0.5}), 0.05);
    EXPECT_NEAR(chances.chance(kSampled, 0, {confidence, 0.5}), confidence, 1e-9);
  }
}

TEST(DraftChances, LearnWhatASequenceAcceptsWhereADrafterHasNoConfidence) {
  DraftChances chances;
  std::mt19937 random(2);
  std::uniform_real_distribution<double> uniform;
  for (int i = 0; i < 20'000; ++i) {
    const double recent = i % 2 == 0 ? 0.9 : 0.1;
    chances.add(kGreedy, 0, {0.5, recent}, uniform(random) < recent);
  }
  EXPECT_NEAR(chances.chance(kGreedy, 0, {0.5, 0.9}), 0.9, 0.08);
  EXPECT_NEAR(chances.chance(kGreedy, 0, {0.5, 0.1}), 0.1, 0.08);
}

TEST(DraftBudget, EndsWhereAllDraftsTogetherAreTooUnlikely) {
  const DraftChances chances;
  DraftBudget budget(chances, kGreedy, 0.5, 0.6);
  EXPECT_TRUE(budget.admit(0.9));
  EXPECT_TRUE(budget.admit(0.8));
  EXPECT_FALSE(budget.left_out());
  EXPECT_FALSE(budget.admit(0.8));  // 0.58 for all three
  EXPECT_NEAR(budget.left_out().value(), 0.8, 1e-9);
  EXPECT_FALSE(budget.admit(0.999));
  DraftBudget everything(chances, kGreedy, 0.5, 0);
  for (std::size_t i = 0; i < kMaxSpeculativeTokens; ++i) EXPECT_TRUE(everything.admit(0.01));
}

TEST(DraftBudget, LearnsFromDraftsUpToTheFirstThatWasRefused) {
  DraftChances chances;
  for (int i = 0; i < 2000; ++i) {
    DraftBudget budget(chances, kGreedy, 0.5, 0);
    for (int j = 0; j < 3; ++j) budget.admit(0.5);
    budget.learn(chances, 1);
  }
  EXPECT_GT(chances.chance(kGreedy, 0, {0.5, 0.5}), 0.95);
  EXPECT_LT(chances.chance(kGreedy, 1, {0.5, 0.5}), 0.05);
  EXPECT_NEAR(chances.chance(kGreedy, 2, {0.5, 0.5}), 0.5, 1e-9);
}

}  // namespace
}  // namespace outrider
