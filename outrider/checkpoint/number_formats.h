#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace outrider {

// The small number formats of weights, scales and activations (OCP Microscaling Formats v1.0, OCP 8-bit Floating Point
// v1.0, IEEE 754). Conversions to float are exact; conversions from float round to nearest, ties to even.

inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline std::uint16_t float_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (x != x) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

inline float round_to_bf16(float x) {
  return bf16_to_float(float_to_bf16(x));
}

inline float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t magnitude = bits & 0x7fffU;
  if (magnitude >= 0x7c00U) return std::bit_cast<float>(sign | 0x7f800000U | ((magnitude & 0x3ffU) << 13));
  // The exponent's bias is 15 here and 127 in float; subnormals come out right by the multiplication.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

// E4M3: no infinities; 0x7f and 0xff are NaN, 448 is the largest value.
inline constexpr float kE4m3Max = 448.0F;
inline float e4m3_to_float(std::uint8_t code) {
  const std::uint32_t magnitude = code & 0x7fU;
  if (magnitude == 0x7fU) return std::numeric_limits<float>::quiet_NaN();
  const std::uint32_t sign = (code & 0x80U) << 24;
  const float scaled = std::bit_cast<float>(magnitude << 20) * 0x1p120F;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

// The nearest E4M3 value; beyond the largest: the largest. NaN stays NaN.
inline float round_to_e4m3(float x) {
  // Without branches, so that loops over it become vectors.
  const float magnitude = std::fabs(x);
  const float a = magnitude < kE4m3Max ? magnitude : kE4m3Max;
  // Adding a power of two whose last place is the format's step there makes float's own rounding do it.
  const auto exponent = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(a) >> 23);
  constexpr std::int32_t kSmallestNormal = 127 - 6;
  const std::int32_t e = exponent < kSmallestNormal ? kSmallestNormal : exponent;
  const float magic = std::bit_cast<float>((e + 20) << 23);  // 23 - 3 bits of mantissa
  const float rounded = std::copysign((a + magic) - magic, x);
  return x != x ? x : rounded;
}

// E2M1: code's lowest three bits are the magnitude, the fourth the sign.
inline constexpr float kE2m1Max = 6.0F;
inline float e2m1_to_float(std::uint8_t code) {
  constexpr float kMagnitudes[8] = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
  const float magnitude = kMagnitudes[code & 7U];
  return (code & 8U) != 0 ? -magnitude : magnitude;
}

// The nearest E2M1 value; beyond the largest: the largest.
inline float round_to_e2m1(float x) {
  const float magnitude = std::fabs(x);
  const float a = magnitude < kE2m1Max ? magnitude : kE2m1Max;
  const auto exponent = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(a) >> 23);
  const std::int32_t e = exponent < 127 ? 127 : exponent;
  const float magic = std::bit_cast<float>((e + 22) << 23);  // steps of 0.5 below 2, then 1, then 2
  return std::copysign((a + magic) - magic, x);
}

// E8M0: 2^(code-127); 255 is NaN.
inline float e8m0_to_float(std::uint8_t code) {
  if (code == 255) return std::numeric_limits<float>::quiet_NaN();
  return code == 0 ? 0x1p-127F : std::bit_cast<float>(static_cast<std::uint32_t>(code) << 23);
}

// The smallest power of two >= x, for normal positive x.
inline float power_of_two_at_least(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits & 0x007fffffU) == 0 ? bits : (bits & 0x7f800000U) + 0x00800000U);
}

}  // namespace outrider
