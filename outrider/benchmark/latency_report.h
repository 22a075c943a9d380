#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "outrider/benchmark/latency_benchmark.h"

namespace outrider {

// "results": for each setting, the keys of `vllm bench latency --output-json` (avg_latency, std_latency, latencies,
// percentiles; seconds) and ours. With a single setting, vLLM's keys are at the top level too.
nlohmann::ordered_json latency_report_json(std::span<const LatencyResult> results,
                                           const LatencyBenchmarkOptions& options);

// Formats a table with a line for each setting.
std::string latency_report_text(std::span<const LatencyResult> results, const LatencyBenchmarkOptions& options);

// Formats a table of operations for each setting: milliseconds of a decode step and their share.
std::string breakdown_text(std::span<const LatencyResult> results);

}  // namespace outrider
