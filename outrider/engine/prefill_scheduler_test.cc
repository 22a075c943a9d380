#include "outrider/engine/prefill_scheduler.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

using Shares = std::vector<std::size_t>;

Shares share_alone(std::size_t budget, const Shares& left) {
  return PrefillScheduler(100).share(budget, left, /*decoding=*/false);
}

TEST(PrefillScheduler, TheShortestGoFirst) {
  EXPECT_EQ(share_alone(100, {10, 60, 20}), (Shares{10, 60, 20}));
  EXPECT_EQ(share_alone(100, {800, 90, 700}), (Shares{23, 67, 0}));
  EXPECT_EQ(share_alone(100, {800, 900, 700}), (Shares{25, 0, 75}));
  EXPECT_EQ(share_alone(100, {}), Shares{});
  EXPECT_EQ(share_alone(0, {5, 5}), (Shares{0, 0}));
}

TEST(PrefillScheduler, TheOldestAlwaysGoesOn) {
  EXPECT_EQ(share_alone(100, {900, 60, 60, 60}), (Shares{25, 60, 15, 0}));
  EXPECT_EQ(share_alone(1, {900, 1}), (Shares{1, 0}));
}

TEST(PrefillScheduler, AStepThatOthersWaitForIsShort) {
  PrefillScheduler scheduler(800);
  const auto long_beside_decoding = [&] { return scheduler.share(790, Shares{5000}, true)[0]; };
  const auto long_beside_a_short = [&] { return scheduler.share(800, Shares{5000, 300}, false); };
  EXPECT_EQ(scheduler.share(800, Shares{5000}, false), Shares{800});
  EXPECT_EQ(long_beside_decoding(), 200U);  // nothing is known of speed
  EXPECT_EQ(long_beside_a_short(), (Shares{75, 225}));

  scheduler.record(800, 0.2);  // 400 tokens in 0.1 s
  EXPECT_EQ(scheduler.share(800, Shares{5000}, false), Shares{800});
  EXPECT_EQ(long_beside_decoding(), 400U);
  EXPECT_EQ(long_beside_a_short(), (Shares{100, 300}));

  scheduler.record(99, 5.0);  // too few to tell
  EXPECT_EQ(long_beside_decoding(), 400U);
  scheduler.record(800, 0.0001);
  EXPECT_EQ(long_beside_decoding(), 790U);
  scheduler.record(800, 3.0);
  EXPECT_EQ(long_beside_decoding(), 200U);
}

}  // namespace
}  // namespace outrider
