#pragma once

#include <cstddef>
#include <cstdint>

// Loops over vectors, as the compiler makes them for the instruction set of the file that includes this: no function
// may be shared with other files, hence the anonymous namespace and the builtins. Bit-identical on all paths.

namespace outrider {
namespace {

inline std::uint32_t bits_of(float x) {
  return __builtin_bit_cast(std::uint32_t, x);
}

inline float float_of(std::uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}

void round_bf16(float* x, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint32_t bits = bits_of(x[i]);
    const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U;
    // A NaN keeps its upper half, quiet.
    const std::uint32_t nan = (bits & 0xffff0000U) | 0x00400000U;
    x[i] = float_of((bits & 0x7fffffffU) > 0x7f800000U ? nan : rounded);
  }
}

// See round_to_e4m3 of number_formats.h: adding `magic` makes float's own rounding round to the format's steps.
void round_fp8(float* x, std::size_t size, std::size_t block) {
  constexpr float kLargest = 448.0F;
  for (std::size_t begin = 0; begin < size; begin += block) {
    const std::size_t count = begin + block < size ? block : size - begin;
    float* const part = x + begin;
    std::uint32_t largest = bits_of(1e-4F);  // magnitudes are ordered as their bits are
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t magnitude = bits_of(part[i]) & 0x7fffffffU;
      largest = magnitude > largest ? magnitude : largest;
    }
    const std::uint32_t scaled = bits_of(float_of(largest) * (1.0F / kLargest));
    const float scale = float_of((scaled + 0x007fffffU) & 0x7f800000U);  // the next power of two
    const float inverse = 1.0F / scale;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t bits = bits_of(part[i] * inverse);
      const std::uint32_t magnitude = bits & 0x7fffffffU;
      const std::uint32_t clamped = magnitude < bits_of(kLargest) ? magnitude : bits_of(kLargest);
      constexpr std::uint32_t kSmallestNormal = (127U - 6U) << 23;
      const std::uint32_t exponent = clamped & 0x7f800000U;
      const float magic = float_of((exponent > kSmallestNormal ? exponent : kSmallestNormal) + (20U << 23));
      const std::uint32_t rounded = bits_of((float_of(clamped) + magic) - magic) | (bits & 0x80000000U);
      part[i] = float_of(magnitude > 0x7f800000U ? bits : rounded) * scale;
    }
  }
}

// kSize elements, whose sums stay in registers.
template <std::size_t kSize>
[[gnu::always_inline]] inline void weighted_sum_of(const float* x, std::size_t rows, std::size_t step,
                                                   const float* weights, float* out) {
  float sums[kSize];
  for (std::size_t i = 0; i < kSize; ++i) sums[i] = weights[0] * x[i];
  for (std::size_t r = 1; r < rows; ++r) {
    const float* const row = x + r * step;
    for (std::size_t i = 0; i < kSize; ++i) sums[i] += weights[r] * row[i];
  }
  for (std::size_t i = 0; i < kSize; ++i) out[i] = sums[i];
}

void weighted_sum(const float* x, std::size_t rows, std::size_t step, const float* weights, std::size_t size,
                  float* out) {
  constexpr std::size_t kAtOnce = 32;
  std::size_t i = 0;
  for (; i + kAtOnce <= size; i += kAtOnce) weighted_sum_of<kAtOnce>(x + i, rows, step, weights, out + i);
  for (; i < size; ++i) weighted_sum_of<1>(x + i, rows, step, weights, out + i);
}

}  // namespace
}  // namespace outrider
