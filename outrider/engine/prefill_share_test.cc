#include "outrider/engine/prefill_share.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

using Shares = std::vector<std::size_t>;

TEST(PrefillShare, TheShortestGoFirst) {
  EXPECT_EQ(share_prefill(100, Shares{500, 10, 500}), (Shares{90, 10, 0}));
  EXPECT_EQ(share_prefill(100, Shares{10, 60, 20}), (Shares{10, 60, 20}));
  EXPECT_EQ(share_prefill(100, Shares{800, 90, 700}), (Shares{25, 75, 0}));
  EXPECT_EQ(share_prefill(100, Shares{}), Shares{});
  EXPECT_EQ(share_prefill(0, Shares{5, 5}), (Shares{0, 0}));
}

TEST(PrefillShare, TheOldestAlwaysGoesOn) {
  EXPECT_EQ(share_prefill(100, Shares{900, 60, 60, 60}), (Shares{25, 60, 15, 0}));
  EXPECT_EQ(share_prefill(1, Shares{900, 1}), (Shares{1, 0}));
}

}  // namespace
}  // namespace outrider
