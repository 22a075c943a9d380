#include "outrider/checkpoint/number_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace outrider {
namespace {

// The value of a code by the definition: sign, exponent, mantissa, IEEE-like with the given bias.
double by_definition(unsigned code, int exponent_bits, int mantissa_bits, int bias) {
  const double sign = (code >> (exponent_bits + mantissa_bits)) != 0 ? -1.0 : 1.0;
  const int exponent = static_cast<int>(code >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = static_cast<int>(code) & ((1 << mantissa_bits) - 1);
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

// The nearest of `values` (ascending, the even code every other one), ties to even.
template <typename Round>
void expect_rounds_to_nearest(const std::vector<float>& values, Round round) {
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {
    const float low = values[i];
    const float high = values[i + 1];
    const float middle = (low + high) / 2;
    EXPECT_EQ(round(low), low);
    EXPECT_EQ(round(std::nextafter(middle, low)), low);
    EXPECT_EQ(round(std::nextafter(middle, high)), high);
    EXPECT_EQ(round(middle), i % 2 == 0 ? low : high) << middle;
    EXPECT_EQ(round(-middle), i % 2 == 0 ? -low : -high) << middle;
  }
  EXPECT_EQ(round(values.back()), values.back());
  EXPECT_EQ(round(values.back() * 100), values.back());
  EXPECT_EQ(round(-INFINITY), -values.back());
}

TEST(NumberFormats, EveryE4m3Code) {
  std::vector<float> positive;
  for (unsigned code = 0; code < 256; ++code) {
    const float value = e4m3_to_float(static_cast<std::uint8_t>(code));
    if ((code & 0x7fU) == 0x7fU) {
      EXPECT_TRUE(std::isnan(value)) << code;
      continue;
    }
    EXPECT_EQ(value, by_definition(code, 4, 3, 7)) << code;
    EXPECT_EQ(std::signbit(value), code >= 128) << code;
    EXPECT_EQ(round_to_e4m3(value), value);
    if (code < 128) positive.push_back(value);
  }
  expect_rounds_to_nearest(positive, round_to_e4m3);
  EXPECT_TRUE(std::isnan(round_to_e4m3(NAN)));
}

TEST(NumberFormats, EveryE2m1Code) {
  std::vector<float> positive;
  for (unsigned code = 0; code < 16; ++code) {
    const float value = e2m1_to_float(static_cast<std::uint8_t>(code));
    EXPECT_EQ(value, by_definition(code, 2, 1, 1)) << code;
    EXPECT_EQ(std::signbit(value), code >= 8) << code;
    if (code < 8) positive.push_back(value);
  }
  expect_rounds_to_nearest(positive, round_to_e2m1);
}

TEST(NumberFormats, EveryE8m0Code) {
  for (unsigned code = 0; code < 255; ++code) {
    EXPECT_EQ(e8m0_to_float(static_cast<std::uint8_t>(code)), std::ldexp(1.0F, static_cast<int>(code) - 127)) << code;
  }
  EXPECT_TRUE(std::isnan(e8m0_to_float(255)));
}

TEST(NumberFormats, EveryCodeOfTheSixteenBitFloats) {
  for (unsigned code = 0; code < 65536; ++code) {
    const auto c = static_cast<std::uint16_t>(code);
    const float bf16 = bf16_to_float(c);
    const float f16 = f16_to_float(c);
    if ((code & 0x7f80U) == 0x7f80U) {
      EXPECT_EQ(std::isnan(bf16), (code & 0x7fU) != 0);
    } else {
      EXPECT_EQ(bf16, by_definition(code, 8, 7, 127)) << code;
      EXPECT_EQ(float_to_bf16(bf16), code);
    }
    if ((code & 0x7c00U) == 0x7c00U) {
      EXPECT_EQ(std::isnan(f16), (code & 0x3ffU) != 0);
    } else {
      EXPECT_EQ(f16, by_definition(code, 5, 10, 15)) << code;
    }
  }
}

TEST(NumberFormats, Bf16RoundsToNearestEven) {
  EXPECT_EQ(round_to_bf16(1.0F + 0x1p-8F), 1.0F);            // a tie, down to even
  EXPECT_EQ(round_to_bf16(1.0F + 0x3p-8F), 1.0F + 0x4p-8F);  // a tie, up to even
  EXPECT_EQ(round_to_bf16(1.0F + 0x1.2p-8F), 1.0F + 0x2p-8F);
  EXPECT_EQ(round_to_bf16(-3.4e38F), -INFINITY);
  EXPECT_TRUE(std::isnan(round_to_bf16(NAN)));
}

TEST(NumberFormats, PowerOfTwoAtLeast) {
  EXPECT_EQ(power_of_two_at_least(1.0F), 1.0F);
  EXPECT_EQ(power_of_two_at_least(std::nextafter(1.0F, 2.0F)), 2.0F);
  EXPECT_EQ(power_of_two_at_least(std::nextafter(1.0F, 0.0F)), 1.0F);
  EXPECT_EQ(power_of_two_at_least(0.3F), 0.5F);
  EXPECT_EQ(power_of_two_at_least(0x1p-126F), 0x1p-126F);
}

}  // namespace
}  // namespace outrider
