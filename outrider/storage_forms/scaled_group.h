#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "outrider/checkpoint/number_formats.h"
#include "outrider/storage_forms/encode.h"

namespace outrider {

// Shared by encoders: codes of values, groups of values that share a scale, and the search for that scale.

inline std::uint8_t e4m3_code(float x) {
  const float r = round_to_e4m3(x);
  const auto bits = std::bit_cast<std::uint32_t>(r);
  const std::uint32_t sign = bits >> 24 & 0x80U;
  const float a = std::fabs(r);
  // Subnormals are multiples of 2^-9; the exponent's bias is 7 here and 127 in float.
  const std::uint32_t magnitude =
      a < 0x1p-6F ? static_cast<std::uint32_t>(a * 0x1p9F) : ((bits & 0x7fffffffU) >> 20) - (120U << 3);
  return static_cast<std::uint8_t>(sign | magnitude);
}

inline std::uint8_t e2m1_code(float x) {
  const float a = std::fabs(round_to_e2m1(x));
  const int magnitude = a < 2 ? static_cast<int>(2 * a) : a < 4 ? static_cast<int>(a) + 2 : static_cast<int>(a / 2) + 4;
  return static_cast<std::uint8_t>((std::signbit(x) && a != 0 ? 8 : 0) | magnitude);
}

template <typename T>
void store(std::vector<std::byte>& out, std::size_t index, T value) {
  std::memcpy(out.data() + index * sizeof(T), &value, sizeof(T));
}

inline void store_scale(std::vector<std::byte>& out, std::size_t index, Dtype dtype, float scale) {
  switch (dtype) {
    case Dtype::kF8E8M0:
      return store(out, index, static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(scale) >> 23));
    case Dtype::kBF16:
      return store(out, index, float_to_bf16(scale));
    default:
      return store(out, index, scale);
  }
}

// The scale after rounding to its stored dtype.
inline float rounded_scale(Dtype dtype, float scale) {
  switch (dtype) {
    case Dtype::kF8E8M0:
      return power_of_two_at_least(std::max(scale, 0x1p-126F));
    case Dtype::kBF16:
      return round_to_bf16(scale);
    default:
      return scale;
  }
}

inline void store_nibble(std::vector<std::byte>& out, std::size_t index, std::uint8_t code) {
  out[index / 2] |= static_cast<std::byte>(code << 4 * (index % 2));
}

// Quantises a value (divided by the scale) to a code's value.
struct Int4 {
  static float at(float x, float inverse) {
    constexpr float kMagic = 0x1.8p23F;  // its last place is 1
    return (std::clamp(x * inverse, -8.0F, 7.0F) + kMagic) - kMagic;
  }
};
struct E2m1 {
  static float at(float x, float inverse) { return round_to_e2m1(x * inverse); }
};
struct E4m3 {
  static float at(float x, float inverse) { return round_to_e4m3(x * inverse); }
};

// A rectangle of values that share a scale.
struct Group {
  const float* values;
  std::size_t stride;
  std::size_t rows;
  std::size_t cols;

  // Sums and maxima use one lane per position modulo kLanes, so that they can be vectorised.
  static constexpr std::size_t kLanes = 16;
  using Lanes = std::array<float, kLanes>;

  // Calls with_value(lane, value) for each value of a row.
  template <typename WithValue>
  void each(std::size_t row, const WithValue& with_value) const {
    const float* x = values + row * stride;
    std::size_t c = 0;
    for (; c + kLanes <= cols; c += kLanes) {
      for (std::size_t i = 0; i < kLanes; ++i) with_value(i, x[c + i]);
    }
    for (std::size_t i = 0; c + i < cols; ++i) with_value(i, x[c + i]);
  }

  static float sum(Lanes lanes) {
    for (std::size_t half = kLanes / 2; half != 0; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }
  static float max(const Lanes& lanes) { return *std::max_element(lanes.begin(), lanes.end()); }

  float amax() const {
    Lanes most{};
    for (std::size_t r = 0; r < rows; ++r) {
      each(r, [&](std::size_t i, float x) { most[i] = std::fabs(x) > most[i] ? std::fabs(x) : most[i]; });
    }
    return max(most);
  }

  template <typename Code>
  double error(float scale) const {
    const float inverse = 1 / scale;
    double out = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      Lanes squares{};
      each(r, [&](std::size_t i, float x) {
        const float d = Code::at(x, inverse) * scale - x;
        squares[i] += d * d;
      });
      out += sum(squares);
    }
    return out;
  }

  // The scale with the least error.
  template <typename Code>
  float best(std::span<const float> scales) const {
    float out = scales[0];
    double least = std::numeric_limits<double>::infinity();
    for (const float scale : scales) {
      if (!(scale > 0)) continue;
      const double e = error<Code>(scale);
      if (e < least) {
        least = e;
        out = scale;
      }
    }
    return out;
  }

  template <typename Code>
  EncodingError measured(float scale) const {
    EncodingError out;
    out.squared = error<Code>(scale);
    const float inverse = 1 / scale;
    Lanes largest{};
    for (std::size_t r = 0; r < rows; ++r) {
      Lanes squares{};
      each(r, [&](std::size_t i, float x) {
        const float d = std::fabs(Code::at(x, inverse) * scale - x);
        squares[i] += x * x;
        largest[i] = d > largest[i] ? d : largest[i];
      });
      out.squared_values += sum(squares);
    }
    out.largest = max(largest);
    return out;
  }
};

// Candidate scales, from high to low times the one at which nothing is clipped.
template <std::size_t N>
std::array<float, N> scales_around(float unclipped, float low, float high, Dtype dtype) {
  std::array<float, N> out{};
  for (std::size_t i = 0; i < N; ++i) {
    const float share = high - (high - low) * static_cast<float>(i) / static_cast<float>(N - 1);
    out[i] = rounded_scale(dtype, unclipped * share);
  }
  return out;
}

// The scale of a group of zeros; any scale would do.
inline constexpr float kScaleOfNothing = 1;
// A group whose largest magnitude is below this is stored as zeros: its scale or the divisor would not be a normal
// number. No weight that matters is so small.
inline constexpr float kNothing = 0x1p-100F;

}  // namespace outrider
