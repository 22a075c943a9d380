#include "outrider/math/rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace outrider {
namespace {

TEST(Rounding, ThroughFp8EachBlockWithItsOwnScale) {
  // The first block's scale is 2^ceil(log2(1300 / 448)) = 4, the second block's is the minimum.
  std::vector<float> x = {1300.0F, 4.0F * 17.0F, 1.0F, 0.0F, 1e-6F, -1e-7F};
  round_through_fp8(x, 4);
  EXPECT_EQ(x[0], 1280.0F);       // 325 lies between 320 and 352
  EXPECT_EQ(x[1], 4.0F * 16.0F);  // 17 is a tie between 16 and 18
  EXPECT_EQ(x[2], 1.0F);
  EXPECT_EQ(x[3], 0.0F);
  const float floor_scale = 0x1p-22F;  // the smallest power of two that is at least 1e-4 / 448
  EXPECT_EQ(std::fmod(x[4], floor_scale * 0x1p-9F), 0.0F);
  EXPECT_NEAR(x[4], 1e-6F, 1e-7F);
}

TEST(Rounding, ThroughFp8KeepsRepresentableValues) {
  std::vector<float> x;
  for (int i = -15; i <= 15; ++i) x.push_back(static_cast<float>(i) * 0.125F);
  const std::vector<float> before = x;
  round_through_fp8(x, 128);
  EXPECT_EQ(x, before);
}

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
