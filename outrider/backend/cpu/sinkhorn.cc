#include "outrider/backend/cpu/sinkhorn.h"

#include <algorithm>
#include <cmath>

namespace outrider {

void sinkhorn(std::span<float> comb, std::size_t hc, std::uint64_t iterations, float eps) {
  for (std::size_t j = 0; j < hc; ++j) {
    const std::span<float> row = comb.subspan(j * hc, hc);
    const float max = *std::max_element(row.begin(), row.end());
    float sum = 0.0F;
    for (float& v : row) sum += v = std::exp(v - max);
    for (float& v : row) v = v / sum + eps;
  }
  const auto divide = [&](std::size_t line, std::size_t step) {  // the values line, line + step, …
    float sum = 0.0F;
    for (std::size_t i = 0; i < hc; ++i) sum += comb[line + i * step];
    for (std::size_t i = 0; i < hc; ++i) comb[line + i * step] /= sum + eps;
  };
  for (std::size_t k = 0; k < hc; ++k) divide(k, hc);
  for (std::uint64_t i = 1; i < iterations; ++i) {
    for (std::size_t j = 0; j < hc; ++j) divide(j * hc, 1);
    for (std::size_t k = 0; k < hc; ++k) divide(k, hc);
  }
}

}  // namespace outrider
