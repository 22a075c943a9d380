#include "outrider/decoding/draft_policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "outrider/decoding/acceptance_guard.h"

namespace outrider {
namespace {

struct SimulatedDrafter {
  std::function<double(std::size_t k)> seconds;  // of a step
  double acceptance = 0;                         // of each draft after an accepted one
};

struct SimulatedRun {
  double tokens_per_second = 0;
  std::vector<std::size_t> drafts;  // by step
};

// Steps of `sequences` sequences with times that vary by 10%.
SimulatedRun run(DraftPolicy& policy, const SimulatedDrafter& drafter, std::size_t sequences, std::size_t steps) {
  std::mt19937 random(sequences);
  std::uniform_real_distribution<double> uniform;
  SimulatedRun out;
  double tokens = 0;
  double seconds = 0;
  for (std::size_t i = 0; i < steps; ++i) {
    const std::size_t k = policy.choose(sequences);
    std::vector<DraftRound> rounds(sequences, {k, 0});
    for (DraftRound& round : rounds) {
      while (round.accepted < k && uniform(random) < drafter.acceptance) ++round.accepted;
      tokens += static_cast<double>(round.accepted) + 1;
    }
    const double took = drafter.seconds(k) * (1 + 0.1 * uniform(random));
    seconds += took;
    policy.add(sequences, k, took, rounds);
    out.drafts.push_back(k);
  }
  out.tokens_per_second = tokens / seconds;
  return out;
}

double ideal(const SimulatedDrafter& drafter, std::size_t sequences, std::size_t k) {
  double tokens = 0;
  for (std::size_t j = 0; j <= k; ++j) tokens += std::pow(drafter.acceptance, static_cast<double>(j));
  return static_cast<double>(sequences) * tokens / (1.05 * drafter.seconds(k));
}

TEST(DraftPolicy, DraftsAsManyAsAreFastest) {
  const SimulatedDrafter cheap{[](std::size_t k) { return 1 + 0.15 * static_cast<double>(k); }, 0.8};
  for (const std::size_t sequences : {1UL, 8UL}) {
    DraftPolicy policy(4);
    EXPECT_GT(run(policy, cheap, sequences, 3000).tokens_per_second, 0.95 * ideal(cheap, sequences, 4));
  }
  // 1.6 / 1.35, 1.96 / 1.6, 2.18 / 2.1
  const SimulatedDrafter two{[](std::size_t k) { return k < 3 ? 1.1 + 0.25 * static_cast<double>(k) : 2.1; }, 0.6};
  DraftPolicy policy(4);
  const SimulatedRun written = run(policy, two, 4, 4000);
  EXPECT_GT(written.tokens_per_second, 0.96 * ideal(two, 4, 2));
}

TEST(DraftPolicy, CostsLittleWhereDraftsDoNotPay) {
  const SimulatedDrafter dear{[](std::size_t k) { return 1 + 0.9 * static_cast<double>(k); }, 0.7};
  for (const std::size_t sequences : {1UL, 16UL}) {
    DraftPolicy policy(4);
    EXPECT_GT(run(policy, dear, sequences, 2000).tokens_per_second, 0.98 * ideal(dear, sequences, 0));
  }
}

TEST(DraftPolicy, DraftsMadeAtOnceMayPayThoughOneDoesNot) {
  const auto drafter = [](double cost) {
    return SimulatedDrafter{[cost](std::size_t k) { return k == 0 ? 1.0 : 1 + cost + 0.05 * static_cast<double>(k); },
                            0.8};
  };
  for (const std::size_t sequences : {1UL, 8UL}) {
    DraftPolicy pays(5, true);
    EXPECT_GT(run(pays, drafter(0.9), sequences, 3000).tokens_per_second, 0.95 * ideal(drafter(0.9), sequences, 5));
    DraftPolicy does_not(5, true);
    EXPECT_GT(run(does_not, drafter(4), sequences, 3000).tokens_per_second, 0.97 * ideal(drafter(4), sequences, 0));
    // Found again after a time in which they did not pay.
    EXPECT_GT(run(does_not, drafter(0.9), sequences, 20000).tokens_per_second, 0.9 * ideal(drafter(0.9), sequences, 5));
  }
}

TEST(DraftPolicy, EachNumberOfSequencesHasItsOwnChoice) {
  DraftPolicy policy(2);
  const SimulatedDrafter pays{[](std::size_t k) { return 1 + 0.2 * static_cast<double>(k); }, 0.8};
  const SimulatedDrafter does_not{[](std::size_t k) { return 1 + 2.0 * static_cast<double>(k); }, 0.8};
  run(policy, pays, 1, 500);
  run(policy, does_not, 8, 500);
  EXPECT_GT(run(policy, pays, 1, 200).tokens_per_second, 0.9 * ideal(pays, 1, 2));
  EXPECT_GT(run(policy, does_not, 8, 200).tokens_per_second, 0.9 * ideal(does_not, 8, 0));
  // A new number begins with what is best for the next smaller one.
  EXPECT_EQ(policy.choose(16), 0U);
  EXPECT_GE(policy.choose(2), 1U);
}

TEST(DraftPolicy, TriesWhenTheDrafterHasLittleToCatchUpWith) {
  const SimulatedDrafter dear{[](std::size_t k) { return 1 + 0.9 * static_cast<double>(k); }, 0.7};
  DraftPolicy policy(4);
  run(policy, dear, 2, 100);
  std::size_t without = 0;
  for (; policy.choose(2, 200) == 0; ++without) policy.add(2, 0, 1, std::vector<DraftRound>(2));
  EXPECT_GT(without, DraftPolicy::kOverdue * 32);
  for (std::size_t i = 0; i < 4 * DraftPolicy::kTrialTurns; ++i) {
    const std::size_t k = policy.choose(2, 200);
    policy.add(2, k, 1 + static_cast<double>(k), std::vector<DraftRound>(2, {k, 0}));
  }
  without = 0;
  for (; policy.choose(2, 4) == 0; ++without) policy.add(2, 0, 1, std::vector<DraftRound>(2));
  EXPECT_LE(without, DraftPolicy::kLastInterval);
}

TEST(DraftPolicy, ADrafterThatIsNeverRightIsUsedUntilThatIsCertain) {
  const SimulatedDrafter wrong{[](std::size_t k) { return 1 + 0.3 * static_cast<double>(k); }, 0};
  DraftPolicy policy(4);
  const SimulatedRun written = run(policy, wrong, 1, 3000);
  std::size_t rounds = 0;
  for (const std::size_t k : written.drafts) rounds += k != 0 ? 1 : 0;
  EXPECT_GE(rounds, AcceptanceGuard::kDraftsNeeded);
  EXPECT_LT(rounds, written.drafts.size() / 2);
  EXPECT_EQ(policy.choose(1), 0U);
}

}  // namespace
}  // namespace outrider
