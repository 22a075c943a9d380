#include "outrider/engine/prefill_scheduler.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

using Shares = std::vector<std::size_t>;

Shares share(const PrefillScheduler& scheduler, std::size_t budget, const Shares& left, bool decoding) {
  std::vector<PrefillScheduler::Prompt> prompts;
  for (const std::size_t tokens : left) prompts.push_back({tokens});
  return scheduler.share(budget, prompts, decoding);
}

Shares share_alone(std::size_t budget, const Shares& left) {
  return share(PrefillScheduler(16, 100), budget, left, /*decoding=*/false);
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
  PrefillScheduler scheduler(16, 800);
  const auto long_beside_decoding = [&] { return share(scheduler, 790, Shares{5000}, true)[0]; };
  const auto long_beside_a_short = [&] { return share(scheduler, 800, Shares{5000, 300}, false); };
  EXPECT_EQ(share(scheduler, 800, Shares{5000}, false), Shares{800});
  EXPECT_EQ(long_beside_decoding(), 200U);  // nothing is known of speed
  EXPECT_EQ(long_beside_a_short(), (Shares{75, 225}));

  scheduler.record(800, 0.2);  // 400 tokens in 0.1 s
  EXPECT_EQ(share(scheduler, 800, Shares{5000}, false), Shares{800});
  EXPECT_EQ(long_beside_decoding(), 400U);
  EXPECT_EQ(long_beside_a_short(), (Shares{100, 300}));

  scheduler.record(99, 5.0);  // too few to tell
  EXPECT_EQ(long_beside_decoding(), 400U);
  scheduler.record(800, 0.0001);
  EXPECT_EQ(long_beside_decoding(), 790U);
  scheduler.record(800, 3.0);
  EXPECT_EQ(long_beside_decoding(), 200U);
}

TEST(PrefillScheduler, PromptsThatNeedLogitsShareTheirRows) {
  const PrefillScheduler scheduler(16, 512);
  using Prompts = std::vector<PrefillScheduler::Prompt>;
  EXPECT_EQ(scheduler.share(512, Prompts{{5000, true}}, false), Shares{64});
  // The oldest goes on, the shortest goes first, and being slow makes no prompt a short one.
  EXPECT_EQ(scheduler.share(128, Prompts{{5000, true}, {5000, true}, {60, true}, {90, false}}, false),
            (Shares{32, 0, 32, 64}));
}

TEST(PrefillScheduler, PromptsDoNotWaitForMuchLongerOnes) {
  const PrefillScheduler scheduler(16, 512);
  const std::size_t a_chat = 600;
  const std::size_t a_document = 10'000;
  const std::size_t a_book = 100'000;
  Shares left(3, a_book);
  EXPECT_TRUE(scheduler.has_room(a_book, left));
  left.push_back(a_book);
  EXPECT_FALSE(scheduler.has_room(a_book, left));
  EXPECT_TRUE(scheduler.has_room(a_document, left));
  left.insert(left.end(), 2, a_document);
  EXPECT_FALSE(scheduler.has_room(a_document, left));
  EXPECT_TRUE(scheduler.has_room(a_chat, left));
  left.insert(left.end(), 2, a_chat);
  EXPECT_FALSE(scheduler.has_room(a_chat, left));
  EXPECT_TRUE(scheduler.has_room(512, left));
  EXPECT_TRUE(PrefillScheduler(1, 512).has_room(a_book, Shares{}));
}

}  // namespace
}  // namespace outrider
