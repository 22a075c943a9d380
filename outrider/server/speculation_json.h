#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "outrider/decoding/generation.h"

namespace outrider {

// The counts so far, for requests with `return_tokens`.
nlohmann::ordered_json speculation_json(const SpeculationCounts& counts);

// vLLM's metrics.speculative_decoding of a finished sequence (SpeculativeDecodingMetrics in its
// entrypoints/generate/base/protocol.py). `rounds`: those with draft tokens, in order; empty unless they are to be
// listed.
nlohmann::ordered_json speculative_decoding_json(const SpeculationCounts& counts, std::size_t num_speculative_tokens,
                                                 std::span<const DraftRound> rounds);

}  // namespace outrider
