#include "outrider/engine/share_budget.h"

#include <gtest/gtest.h>

#include <numeric>

namespace outrider {
namespace {

using Shares = std::vector<std::size_t>;

TEST(ShareBudget, SplitsEvenlyAndRedistributesTheRest) {
  EXPECT_EQ(share_budget(100, Shares{500, 500}, 0), (Shares{50, 50}));
  EXPECT_EQ(share_budget(100, Shares{10, 500, 500}, 0), (Shares{10, 45, 45}));
  EXPECT_EQ(share_budget(100, Shares{10, 20, 500}, 0), (Shares{10, 20, 70}));
  EXPECT_EQ(share_budget(100, Shares{10, 20}, 0), (Shares{10, 20}));
  EXPECT_EQ(share_budget(100, Shares{}, 0), Shares{});
  EXPECT_EQ(share_budget(0, Shares{5}, 0), Shares{0});
}

TEST(ShareBudget, RotatesTheIndivisibleRemainder) {
  EXPECT_EQ(share_budget(2, Shares{9, 9, 9}, 0), (Shares{1, 1, 0}));
  EXPECT_EQ(share_budget(2, Shares{9, 9, 9}, 2), (Shares{1, 0, 1}));
  const Shares shares = share_budget(10, Shares{9, 9, 9}, 4);
  EXPECT_EQ(std::accumulate(shares.begin(), shares.end(), std::size_t{0}), 10U);
}

}  // namespace
}  // namespace outrider
