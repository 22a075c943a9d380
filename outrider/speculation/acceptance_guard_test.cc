#include "outrider/speculation/acceptance_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace outrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

void add(AcceptanceGuard& guard, int rounds, int accepted, bool sampled = false) {
  for (int i = 0; i < rounds; ++i) guard.add({1, i < accepted ? 1U : 0U}, sampled);
}

TEST(AcceptanceGuard, SpeaksUpAfter256RejectedDrafts) {
  AcceptanceGuard guard;
  add(guard, 255, 0);
  EXPECT_FALSE(guard.suspect());
  EXPECT_EQ(guard.reason(), "");
  add(guard, 1, 0);
  EXPECT_TRUE(guard.suspect());
  EXPECT_THAT(guard.reason(), HasSubstr("0 of 256"));
}

TEST(AcceptanceGuard, LeavesSoundDraftersAlone) {
  AcceptanceGuard guard;
  add(guard, 1000, 500);
  EXPECT_FALSE(guard.suspect());
  AcceptanceGuard poor;
  add(poor, 1000, 50);
  EXPECT_FALSE(poor.suspect());
  AcceptanceGuard broken;
  add(broken, 1000, 49);
  EXPECT_TRUE(broken.suspect());
}

TEST(AcceptanceGuard, FarBelowWhatIsExpectedIsSuspectToo) {
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

TEST(AcceptanceGuard, TellsSamplingFromWeights) {
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

TEST(AcceptanceGuard, RecoversWhereAcceptanceDoes) {
  AcceptanceGuard guard;
  add(guard, 256, 0);
  EXPECT_TRUE(guard.suspect());
  add(guard, 256, 200);
  EXPECT_FALSE(guard.suspect());
}

}  // namespace
}  // namespace outrider
