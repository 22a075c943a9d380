#pragma once

#include <optional>
#include <string_view>

#include "outrider/decoding/generation.h"

namespace outrider {

// The counters vllm:spec_decode_* of a server's /metrics, added up over their labels but for the position. Nothing
// where the server has none of them.
std::optional<SpeculationCounts> read_speculation_metrics(std::string_view metrics);

}  // namespace outrider
