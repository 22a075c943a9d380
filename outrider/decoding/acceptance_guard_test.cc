#include "outrider/decoding/acceptance_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <random>
#include <utility>

namespace outrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// `accepted` of `rounds` drafts, evenly spread.
void add(AcceptanceGuard& guard, std::int64_t rounds, std::int64_t accepted, bool sampled = false) {
  for (std::int64_t i = 0; i < rounds; ++i) {
    guard.add({1, (i + 1) * accepted / rounds != i * accepted / rounds ? 1U : 0U}, sampled);
  }
}

// Number of rounds, with `accepted` of each 1,000, until the guard's verdict is `suspect`.
int rounds_until(AcceptanceGuard& guard, bool suspect, int accepted, bool sampled) {
  int rounds = 0;
  for (; rounds < 1'000'000 && guard.suspect() != suspect; ++rounds) {
    guard.add({5, (rounds + 1) * accepted / 1000 != rounds * accepted / 1000 ? 1U : 0U}, sampled);
  }
  return rounds;
}

TEST(AcceptanceGuard, WarnsAfter256RejectedDrafts) {
  AcceptanceGuard guard;
  add(guard, 255, 0);
  EXPECT_FALSE(guard.suspect());
  EXPECT_EQ(guard.reason(), "");
  add(guard, 1, 0);
  EXPECT_TRUE(guard.suspect());
  EXPECT_THAT(guard.reason(), HasSubstr("0 of 256"));
}

TEST(AcceptanceGuard, DoesNotWarnAboutSoundDrafters) {
  AcceptanceGuard guard;
  add(guard, 1000, 500);
  EXPECT_FALSE(guard.suspect());
  AcceptanceGuard poor;
  add(poor, 1000, 60);
  EXPECT_FALSE(poor.suspect());
  AcceptanceGuard broken;
  add(broken, 1000, 49);
  EXPECT_TRUE(broken.suspect());
}

TEST(AcceptanceGuard, ARateFarBelowTheExpectedOneIsSuspect) {
  AcceptanceGuard guard(AcceptanceExpectation{0.7, "the model card"});
  add(guard, 1000, 360);
  EXPECT_FALSE(guard.suspect());
  add(guard, 100, 0);
  EXPECT_TRUE(guard.suspect());
  EXPECT_THAT(guard.reason(), HasSubstr("the model card says 70.0%"));
}

TEST(AcceptanceGuard, OnlyTheFirstDraftOfARoundCounts) {
  AcceptanceGuard guard;
  for (int i = 0; i < 300; ++i) guard.add({8, 1}, false);
  EXPECT_FALSE(guard.suspect());
  for (int i = 0; i < 300; ++i) guard.add({0, 0}, false);
  EXPECT_FALSE(guard.suspect());
}

TEST(AcceptanceGuard, DistinguishesSamplingFromFaultyWeights) {
  AcceptanceGuard guard;
  add(guard, 300, 0, true);
  EXPECT_TRUE(guard.suspect());
  EXPECT_FALSE(guard.only_when_sampling());
  EXPECT_THAT(guard.reason(), HasSubstr("compare at temperature 0"));
  add(guard, 40, 30, false);
  EXPECT_TRUE(guard.only_when_sampling());
  EXPECT_THAT(guard.reason(), HasSubstr("not the weights"));
  add(guard, 1000, 0, false);
  EXPECT_FALSE(guard.only_when_sampling());
  EXPECT_THAT(guard.reason(), Not(HasSubstr("sampling")));
}

TEST(AcceptanceGuard, RecoversWhenAcceptanceDoes) {
  AcceptanceGuard guard;
  add(guard, 256, 0);
  EXPECT_TRUE(guard.suspect());
  add(guard, 256, 200);
  EXPECT_FALSE(guard.suspect());
}

TEST(AcceptanceGuard, DetectsALateCollapse) {
  for (const bool sampled : {false, true}) {
    AcceptanceGuard guard;
    add(guard, 40'000, 18'000, sampled);
    EXPECT_LT(rounds_until(guard, true, 15, sampled), 600);
    EXPECT_THAT(guard.reason(), HasSubstr("of the last 512 first drafts"));
    // The figures are those of the collapse, however long it lasts.
    add(guard, 1'000'000, 15'000, sampled);
    EXPECT_THAT(guard.reason(), HasSubstr("of the last 512 first drafts (1.6%)"));
  }
}

TEST(AcceptanceGuard, DetectsEveryCollapseAndRecovery) {
  AcceptanceGuard guard(AcceptanceExpectation{0.7, "the model card"});
  add(guard, 1'000'000, 650'000);
  for (int i = 0; i < 20; ++i) {
    EXPECT_LT(rounds_until(guard, true, 100, false), 512) << i;
    add(guard, 100'000, 10'000);
    EXPECT_LT(rounds_until(guard, false, 650, false), 512) << i;
    EXPECT_EQ(guard.reason(), "");
    add(guard, 100'000, 65'000);
    EXPECT_FALSE(guard.suspect()) << i;
  }
}

TEST(AcceptanceGuard, RecoversFromABadStartOfAnyLength) {
  AcceptanceGuard guard;
  add(guard, 1'000'000, 0);
  EXPECT_TRUE(guard.suspect());
  EXPECT_LT(rounds_until(guard, false, 600, false), 512);
  add(guard, 10'000, 6'000);
  EXPECT_FALSE(guard.suspect());
}

int changes(double rate, std::optional<AcceptanceExpectation> expected) {
  AcceptanceGuard guard(std::move(expected));
  std::mt19937 random(1);
  std::bernoulli_distribution accepted(rate);
  int changes = 0;
  bool suspect = false;
  for (int i = 0; i < 1'000'000; ++i) {
    guard.add({1, accepted(random) ? 1U : 0U}, false);
    if (guard.suspect() != std::exchange(suspect, guard.suspect())) ++changes;
  }
  return changes;
}

TEST(AcceptanceGuard, DoesNotFlap) {
  EXPECT_LE(changes(0.05, {}), 20);  // exactly at the limit
  EXPECT_LE(changes(0.35, AcceptanceExpectation{0.7, "the model card"}), 20);
  EXPECT_EQ(changes(0.1, {}), 0);
  EXPECT_EQ(changes(0.02, {}), 1);
  EXPECT_EQ(changes(0.5, AcceptanceExpectation{0.7, "the model card"}), 0);
}

}  // namespace
}  // namespace outrider
