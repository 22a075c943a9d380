#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "outrider/decoding/generation.h"

namespace outrider {

struct GenerationTimes {
  double prefill_seconds = 0;
  double decode_seconds = 0;
  std::uint64_t decode_weight_bytes = 0;  // read by decoding steps
};

// Formats one generation's statistics for people, in several lines.
std::string generation_statistics(const Generation& generation, const Model& model, std::size_t num_speculative_tokens,
                                  const GenerationTimes& times);

}  // namespace outrider
