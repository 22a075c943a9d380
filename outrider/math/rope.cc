#include "outrider/math/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace outrider {

Rope::Rope(const ModelConfig& config, bool compressed) {
  const std::uint64_t dims = config.qk_rope_head_dim;
  const double theta = compressed ? config.compress_rope_theta : config.rope_theta;
  inverse_frequencies_.resize(dims / 2);
  for (std::size_t i = 0; i < dims / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dims);
    inverse_frequencies_[i] = 1.0F / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  if (!compressed || !config.yarn) return;
  const YarnScaling& yarn = *config.yarn;
  // The pair that makes `rotations` turns within the original context.
  const auto pair_that_turns = [&](double rotations) {
    const double original = static_cast<double>(yarn.original_max_position_embeddings);
    return static_cast<double>(dims) * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(pair_that_turns(yarn.beta_fast)), 0.0);
  const double high = std::min(std::ceil(pair_that_turns(yarn.beta_slow)), static_cast<double>(dims) - 1);
  const auto span = static_cast<float>(high == low ? 0.001 : high - low);
  const auto factor = static_cast<float>(yarn.factor);
  for (std::size_t i = 0; i < dims / 2; ++i) {
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / span;
    const float keep = 1.0F - std::clamp(ramp, 0.0F, 1.0F);
    const float frequency = inverse_frequencies_[i];
    inverse_frequencies_[i] = frequency / factor * (1.0F - keep) + frequency * keep;
  }
}

void Rope::angles(std::uint64_t position, std::span<float> cos_sin) const {
  const std::size_t pairs = inverse_frequencies_.size();
  for (std::size_t i = 0; i < pairs; ++i) {
    // The angle is rounded to float as in the reference code; at distant positions the rounding determines its value.
    const float angle = static_cast<float>(position) * inverse_frequencies_[i];
    cos_sin[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
    cos_sin[pairs + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
  }
}

void rotate(std::span<float> x, std::span<const float> cos_sin, bool inverse) {
  const std::size_t pairs = cos_sin.size() / 2;
  float* turned = x.data() + (x.size() - 2 * pairs);
  for (std::size_t i = 0; i < pairs; ++i) {
    const float c = cos_sin[i];
    const float s = inverse ? -cos_sin[pairs + i] : cos_sin[pairs + i];
    const float even = turned[2 * i];
    const float odd = turned[2 * i + 1];
    turned[2 * i] = even * c - odd * s;
    turned[2 * i + 1] = even * s + odd * c;
  }
}

}  // namespace outrider
