#include "outrider/math/rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace outrider {
namespace {

TEST(Rounding, ThroughFp4) {
  // Scale 2^ceil(log2(7 / 6)) = 2.
  std::vector<float> x = {7.0F, 5.0F, 0.4F, -0.6F, 12.0F, 3.0F};
  round_through_fp4(std::span(x).first(4), 4);
  EXPECT_EQ(x, (std::vector<float>{8.0F, 4.0F, 0.0F, -1.0F, 12.0F, 3.0F}));
  round_through_fp4(std::span(x).subspan(4), 4);
  EXPECT_EQ(x[4], 12.0F);
  EXPECT_EQ(x[5], 3.0F);
  std::vector<float> zeros(8);
  round_through_fp4(zeros, 4);
  EXPECT_EQ(zeros, std::vector<float>(8));
}

TEST(Rounding, HadamardIsItsOwnInverseAndKeepsLengths) {
  std::vector<float> x = {1, -2, 3, 0.5F, 0, 0, -4, 8};
  const std::vector<float> before = x;
  hadamard(x);
  float sum = 0;
  for (const float v : before) sum += v;
  EXPECT_NEAR(x[0], sum / std::sqrt(8.0F), 1e-6F);  // its first row is all ones
  // The element at (i, j) is -1 to the number of bits that i and j share.
  for (std::size_t i = 0; i < 8; ++i) {
    float expected = 0;
    for (std::size_t j = 0; j < 8; ++j) expected += (__builtin_popcountll(i & j) % 2 == 0 ? 1.0F : -1.0F) * before[j];
    EXPECT_NEAR(x[i], expected / std::sqrt(8.0F), 1e-5F);
  }
  hadamard(x);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_NEAR(x[i], before[i], 1e-5F);
}

}  // namespace
}  // namespace outrider
