#pragma once

#include <optional>
#include <string_view>

#include "outrider/decoding/generation.h"

namespace outrider {

// The counters vllm:spec_decode_* of a server's /metrics, summed over all labels except the position. Nothing if the
// server has none of them.
std::optional<SpeculationCounts> read_speculation_metrics(std::string_view metrics);

}  // namespace outrider
