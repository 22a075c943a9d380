#include "outrider/math/top_k.h"

#include <gtest/gtest.h>

#include <cmath>

namespace outrider {
namespace {

using Positions = std::vector<std::uint32_t>;

TEST(TopK, HighestFirst) {
  EXPECT_EQ(top_k(std::vector<float>{0.5F, -2.0F, 3.0F, 1.0F}, 3), (Positions{2, 3, 0}));
  EXPECT_EQ(top_k(std::vector<float>{-1.0F, -3.0F, -2.0F}, 2), (Positions{0, 2}));
}

TEST(TopK, EqualScoresInOrderOfPosition) {
  EXPECT_EQ(top_k(std::vector<float>{1, 2, 2, 1, 2, 1}, 4), (Positions{1, 2, 4, 0}));
  // ReLU's zeros, of either sign, are equal too.
  EXPECT_EQ(top_k(std::vector<float>{-0.0F, 0.0F, -0.0F, 0.0F, -1.0F}, 3), (Positions{0, 1, 2}));
}

TEST(TopK, AllIfThereAreFewer) {
  EXPECT_EQ(top_k(std::vector<float>{1, 2}, 5), (Positions{1, 0}));
  EXPECT_TRUE(top_k({}, 5).empty());
  EXPECT_TRUE(top_k(std::vector<float>{1}, 0).empty());
}

TEST(TopK, NanRanksLast) {
  EXPECT_EQ(top_k(std::vector<float>{NAN, -INFINITY, 1, -NAN}, 4), (Positions{2, 1, 0, 3}));
}

}  // namespace
}  // namespace outrider
