#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/manifest/model_config.h"

namespace outrider {

// Rotary position embedding on interleaved pairs (2i, 2i+1) of the last qk_rope_head_dim values of a vector.
class Rope {
 public:
  // `compressed`: compress_rope_theta with YaRN, without an attention factor; otherwise rope_theta alone.
  Rope(const ModelConfig& config, bool compressed);

  std::size_t dims() const { return 2 * inverse_frequencies_.size(); }
  std::span<const float> inverse_frequencies() const { return inverse_frequencies_; }  // radians per position, by pair
  // cos and sin by pair, [dims()]: all cos first.
  void angles(std::uint64_t position, std::span<float> cos_sin) const;

 private:
  std::vector<float> inverse_frequencies_;
};

// Rotates the last cos_sin.size() values of x; backwards if `inverse`.
void rotate(std::span<float> x, std::span<const float> cos_sin, bool inverse = false);

}  // namespace outrider
