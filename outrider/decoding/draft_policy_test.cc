#include "outrider/decoding/draft_policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "outrider/decoding/acceptance_guard.h"

namespace outrider {
namespace {

// A drafter whose confidence says that drafts are accepted twice as probably as refused, whatever is true.
struct SimulatedDrafter {
  std::function<double(std::size_t k, double drafted)> seconds;  // of a step; `drafted`: mean of the sequences
  double acceptance = 0;                                         // of each draft after an accepted one
};

// A plain step takes 1; `draft`: for each draft token, `row`: for each that is verified.
auto costs(double draft, double row) {
  return [=](std::size_t k, double drafted) { return 1 + draft * static_cast<double>(k) + row * drafted; };
}

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
    std::vector<DraftBudget> budgets(sequences, policy.budget(sequences, AcceptanceRule::kGreedy, 0.6));
    std::vector<DraftRound> rounds(sequences);
    double drafted = 0;
    for (std::size_t s = 0; s < sequences; ++s) {
      DraftRound& round = rounds[s];
      while (round.drafted < k && budgets[s].admit(2.0 / 3)) ++round.drafted;
      while (round.accepted < round.drafted && uniform(random) < drafter.acceptance) ++round.accepted;
      tokens += static_cast<double>(round.accepted) + 1;
      drafted += static_cast<double>(round.drafted) / static_cast<double>(sequences);
    }
    const double noise = 1 + 0.1 * uniform(random);
    const double took = drafter.seconds(k, drafted) * noise;
    seconds += took;
    // What is not the verification's is the same for all numbers of drafts but none.
    const double verification = took - (drafter.seconds(k, 0) - drafter.seconds(0, 0)) * noise;
    policy.learn(budgets, rounds);
    policy.add(k, {took, verification}, budgets, rounds);
    out.drafts.push_back(k);
  }
  out.tokens_per_second = tokens / seconds;
  return out;
}

double ideal(const SimulatedDrafter& drafter, std::size_t sequences, std::size_t k) {
  double tokens = 0;
  for (std::size_t j = 0; j <= k; ++j) tokens += std::pow(drafter.acceptance, static_cast<double>(j));
  return static_cast<double>(sequences) * tokens / (1.05 * drafter.seconds(k, static_cast<double>(k)));
}

TEST(DraftPolicy, DraftsAsManyAsAreFastest) {
  const SimulatedDrafter cheap{costs(0.05, 0.1), 0.8};
  for (const std::size_t sequences : {1UL, 8UL}) {
    DraftPolicy policy(4);
    EXPECT_GT(run(policy, cheap, sequences, 3000).tokens_per_second, 0.95 * ideal(cheap, sequences, 4));
  }
  // 1.6 / 1.35, 1.96 / 1.6, 2.18 / 2.1
  const SimulatedDrafter two{[](std::size_t, double drafted) { return drafted < 2.5 ? 1.1 + 0.25 * drafted : 2.1; },
                             0.6};
  DraftPolicy policy(4);
  const SimulatedRun written = run(policy, two, 4, 4000);
  EXPECT_GT(written.tokens_per_second, 0.96 * ideal(two, 4, 2));
}

TEST(DraftPolicy, CostsLittleWhereDraftsDoNotPay) {
  const SimulatedDrafter dear{costs(0.3, 0.6), 0.7};
  for (const std::size_t sequences : {1UL, 16UL}) {
    DraftPolicy policy(4);
    EXPECT_GT(run(policy, dear, sequences, 2000).tokens_per_second, 0.98 * ideal(dear, sequences, 0));
  }
}

TEST(DraftPolicy, DraftsMadeAtOnceMayPayThoughOneDoesNot) {
  const auto drafter = [](double cost) {
    return SimulatedDrafter{[cost](std::size_t k, double drafted) { return (k == 0 ? 1 : 1 + cost) + 0.05 * drafted; },
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
  const SimulatedDrafter pays{costs(0.067, 0.133), 0.8};
  const SimulatedDrafter does_not{costs(0.667, 1.333), 0.8};
  run(policy, pays, 1, 500);
  run(policy, does_not, 8, 500);
  EXPECT_GT(run(policy, pays, 1, 200).tokens_per_second, 0.9 * ideal(pays, 1, 2));
  EXPECT_GT(run(policy, does_not, 8, 200).tokens_per_second, 0.9 * ideal(does_not, 8, 0));
  // A new number begins with what is best for the next smaller one.
  EXPECT_EQ(policy.choose(16), 0U);
  EXPECT_GE(policy.choose(2), 1U);
}

TEST(DraftPolicy, TriesWhenTheDrafterHasLittleToCatchUpWith) {
  const SimulatedDrafter dear{costs(0.3, 0.6), 0.7};
  DraftPolicy policy(4);
  run(policy, dear, 2, 100);
  const std::vector<DraftBudget> budgets(2, policy.budget(2, AcceptanceRule::kGreedy, 0.6));
  std::size_t without = 0;
  for (; policy.choose(2, 200) == 0; ++without) policy.add(0, {1, 1}, budgets, std::vector<DraftRound>(2));
  EXPECT_GT(without, DraftPolicy::kOverdue * 32);
  for (std::size_t i = 0; i < 4 * DraftPolicy::kTrialTurns; ++i) {
    const std::size_t k = policy.choose(2, 200);
    const double took = 1 + static_cast<double>(k);
    policy.add(k, {took, took}, budgets, std::vector<DraftRound>(2, {k, 0}));
  }
  without = 0;
  for (; policy.choose(2, 4) == 0; ++without) policy.add(0, {1, 1}, budgets, std::vector<DraftRound>(2));
  EXPECT_LE(without, DraftPolicy::kLastInterval);
}

TEST(DraftPolicy, ADrafterThatIsNeverRightIsUsedUntilThatIsCertain) {
  const SimulatedDrafter wrong{costs(0.1, 0.2), 0};
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
