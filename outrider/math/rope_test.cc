#include "outrider/math/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace outrider {
namespace {

ModelConfig config_of(std::uint64_t dims) {
  ModelConfig config;
  config.qk_rope_head_dim = dims;
  config.rope_theta = 10000;
  config.compress_rope_theta = 160000;
  return config;
}

TEST(Rope, FrequenciesFallByThePowerOfTheta) {
  const Rope rope(config_of(8), false);
  ASSERT_EQ(rope.inverse_frequencies().size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(rope.inverse_frequencies()[i], std::pow(10000.0, -static_cast<double>(i) / 4), 1e-7);
  }
}

TEST(Rope, YarnSlowsLowFrequencies) {
  ModelConfig config = config_of(64);
  config.yarn = YarnScaling{16, 65536, 32, 1};
  const Rope plain(config, false);
  const Rope yarn(config, true);
  const double theta = 160000;
  EXPECT_FLOAT_EQ(yarn.inverse_frequencies()[0], 1.0F);  // many rotations within the original context: unchanged
  const std::span<const float> slow = yarn.inverse_frequencies();
  EXPECT_NEAR(slow[31], std::pow(theta, -62.0 / 64) / 16, 1e-10);
  // Between the extremes: never faster than plain RoPE, never slower than a sixteenth of it.
  for (std::size_t i = 0; i < 32; ++i) {
    const double unscaled = std::pow(theta, -static_cast<double>(i) / 32);
    EXPECT_LE(slow[i], unscaled * 1.0001) << i;
    EXPECT_GE(slow[i], unscaled / 16.001) << i;
  }
  EXPECT_NE(plain.inverse_frequencies()[1], slow[1]);  // another theta
}

TEST(Rope, RotatesInterleavedPairsOfTheLastDims) {
  const Rope rope(config_of(4), false);
  std::vector<float> cos_sin(rope.dims());
  rope.angles(3, cos_sin);
  std::vector<float> x = {7, 8, 1, 0, 0, 2};
  rotate(x, cos_sin);
  EXPECT_EQ(x[0], 7);
  EXPECT_EQ(x[1], 8);
  EXPECT_NEAR(x[2], std::cos(3.0), 1e-6);
  EXPECT_NEAR(x[3], std::sin(3.0), 1e-6);
  EXPECT_NEAR(x[4], -2 * std::sin(0.03), 1e-6);
  EXPECT_NEAR(x[5], 2 * std::cos(0.03), 1e-6);
  rotate(x, cos_sin, true);
  EXPECT_NEAR(x[2], 1, 1e-6);
  EXPECT_NEAR(x[3], 0, 1e-6);
  EXPECT_NEAR(x[4], 0, 1e-6);
  EXPECT_NEAR(x[5], 2, 1e-6);
}

}  // namespace
}  // namespace outrider
