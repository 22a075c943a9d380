#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "outrider/decoding/generation.h"

namespace outrider {

struct AcceptanceProbe {
  std::vector<SpeculationCounts> prompts;  // by prompt
  SpeculationCounts all;
};

// How far MTP block 0 agrees with the model: writes `tokens` tokens after each prompt, greedily and all prompts at
// once, with one draft a round. Throws Error where the model has no MTP block, and what Generation and Decoder throw.
AcceptanceProbe probe_acceptance(const Model& model, std::span<const std::vector<std::uint32_t>> prompts,
                                 std::uint64_t tokens);

}  // namespace outrider
