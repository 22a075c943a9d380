#include "outrider/math/rounding.h"

#include <algorithm>
#include <cmath>

#include "outrider/checkpoint/number_formats.h"

namespace outrider {
namespace {

float largest_magnitude(std::span<const float> x) {
  float amax = 0.0F;
  for (const float v : x) amax = std::max(amax, std::fabs(v));
  return amax;
}

}  // namespace

void round_through_fp4(std::span<float> x, std::size_t block) {
  for (std::size_t begin = 0; begin < x.size(); begin += block) {
    const std::span<float> part = x.subspan(begin, std::min(block, x.size() - begin));
    const float scale = power_of_two_at_least(std::max(largest_magnitude(part), kE2m1Max * 0x1p-126F) / kE2m1Max);
    for (float& v : part) v = round_to_e2m1(v / scale) * scale;
  }
}

void hadamard(std::span<float> x) {
  const std::size_t size = x.size();
  for (std::size_t step = 1; step < size; step *= 2) {
    for (std::size_t begin = 0; begin < size; begin += 2 * step) {
      for (std::size_t i = begin; i < begin + step; ++i) {
        const float a = x[i];
        const float b = x[i + step];
        x[i] = a + b;
        x[i + step] = a - b;
      }
    }
  }
  const float scale = 1.0F / std::sqrt(static_cast<float>(size));
  for (float& v : x) v *= scale;
}

}  // namespace outrider
