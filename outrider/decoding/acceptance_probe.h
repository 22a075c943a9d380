#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "outrider/decoding/generation.h"

namespace outrider {

struct AcceptanceProbe {
  std::vector<SpeculationCounts> prompts;  // by prompt
  SpeculationCounts all;
};

// How far a drafter agrees with the model: generates `tokens` tokens after each prompt, greedily and all prompts at
// once, with one draft token a round. `method`: of drafter_methods.h. Throws what Decoder throws.
AcceptanceProbe probe_acceptance(const Model& model, std::string_view method,
                                 std::span<const std::vector<std::uint32_t>> prompts, std::uint64_t tokens);

}  // namespace outrider
