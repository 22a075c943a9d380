#include "outrider/check/value_scan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace outrider {
namespace {

template <typename T>
ValueStats scan_one(Dtype dtype, T code) {
  std::byte bytes[sizeof(T)];
  std::memcpy(bytes, &code, sizeof(T));
  return scan_values(dtype, bytes);
}

// The value of a code by definition: sign, exponent of `exponent_bits`, the rest mantissa, IEEE-like.
double value_of(unsigned code, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (code >> (exponent_bits + mantissa_bits)) != 0 ? -1.0 : 1.0;
  const int exponent = static_cast<int>(code >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = static_cast<int>(code) & ((1 << mantissa_bits) - 1);
  if (exponent == (1 << exponent_bits) - 1) return mantissa != 0 ? std::nan("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

void expect_matches(const ValueStats& s, double value, unsigned code) {
  EXPECT_EQ(s.elements, 1U);
  EXPECT_EQ(s.nan, std::isnan(value) ? 1U : 0U) << code;
  EXPECT_EQ(s.infinite, std::isinf(value) ? 1U : 0U) << code;
  EXPECT_EQ(s.nonzero, value != 0 ? 1U : 0U) << code;
  EXPECT_EQ(s.negative, value < 0 ? 1U : 0U) << code;
}

TEST(ValueScan, ScansEveryCodeOfSixteenBitFloats) {
  for (unsigned code = 0; code < 65536; ++code) {
    const auto c = static_cast<std::uint16_t>(code);
    expect_matches(scan_one(Dtype::kBF16, c), value_of(code, 8, 7), code);
    expect_matches(scan_one(Dtype::kF16, c), value_of(code, 5, 10), code);
    std::byte bytes[2];
    std::memcpy(bytes, &c, 2);
    for (const auto& [dtype, value] :
         {std::pair{Dtype::kBF16, value_of(code, 8, 7)}, {Dtype::kF16, value_of(code, 5, 10)}}) {
      const float loaded = load_float(dtype, bytes);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(loaded)) << code;
      } else {
        EXPECT_EQ(loaded, value) << code;
        EXPECT_EQ(std::signbit(loaded), std::signbit(value)) << code;
      }
    }
  }
}

TEST(ValueScan, ScansEveryCodeOfEightBitFloats) {
  for (unsigned code = 0; code < 256; ++code) {
    const auto c = static_cast<std::uint8_t>(code);
    expect_matches(scan_one(Dtype::kF8E5M2, c), value_of(code, 5, 2), code);
    // E4M3 has no infinity; its NaNs are the two codes of all ones.
    const ValueStats e4m3 = scan_one(Dtype::kF8E4M3, c);
    EXPECT_EQ(e4m3.nan, (code & 0x7f) == 0x7f ? 1U : 0U) << code;
    EXPECT_EQ(e4m3.infinite, 0U) << code;
    EXPECT_EQ(e4m3.nonzero, (code & 0x7f) != 0 ? 1U : 0U) << code;
    const ValueStats e8m0 = scan_one(Dtype::kF8E8M0, c);
    EXPECT_EQ(e8m0.nan, code == 0xff ? 1U : 0U) << code;
    EXPECT_EQ(e8m0.nonzero, code != 0 ? 1U : 0U) << code;
    EXPECT_EQ(e8m0.all_ones, code == 0xff) << code;
    // Two FP4 codes per byte; bit 3 of each is the sign.
    EXPECT_EQ(scan_one(Dtype::kI8, c).nonzero, (code & 0x07) != 0 || (code & 0x70) != 0 ? 1U : 0U) << code;
  }
}

TEST(ValueScan, ScansOffsetBinaryNibbles) {
  const std::uint32_t zero = 0x88888888;
  const std::uint32_t other = 0x88887888;
  std::byte bytes[8];
  std::memcpy(bytes, &zero, 4);
  std::memcpy(bytes + 4, &other, 4);
  EXPECT_EQ(scan_values(Dtype::kI32, bytes, true).nonzero, 1U);
  EXPECT_EQ(scan_values(Dtype::kI32, bytes, false).nonzero, 2U);
}

TEST(ValueScan, CountsIntegersOutOfRange) {
  const std::int64_t wide[] = {0, 3, 4, -1};
  EXPECT_EQ(count_out_of_range(Dtype::kI64, std::as_bytes(std::span(wide)), 4), 2U);
  const std::int32_t narrow[] = {0, 3, 4, -1, 1 << 30};
  EXPECT_EQ(count_out_of_range(Dtype::kI32, std::as_bytes(std::span(narrow)), 4), 3U);
}

}  // namespace
}  // namespace outrider
