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

// Measures how often a drafter agrees with the model: generates `tokens` tokens for each prompt, greedily and with all
// prompts in one batch, with one draft token per round. `method`: from drafter_methods.h. Throws the same errors as
// Decoder.
AcceptanceProbe probe_acceptance(const Model& model, std::string_view method,
                                 std::span<const std::vector<std::uint32_t>> prompts, std::uint64_t tokens);

}  // namespace outrider
