#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "outrider/benchmark/latency_benchmark.h"

namespace outrider {

// "results": of each setting, the keys of `vllm bench latency --output-json` (avg_latency, std_latency, latencies,
// percentiles; seconds) and ours. Where there is one setting only, vLLM's keys stand at the top as well.
nlohmann::ordered_json latency_report_json(std::span<const LatencyResult> results,
                                           const LatencyBenchmarkOptions& options);

// A table, a line for each setting.
std::string latency_report_text(std::span<const LatencyResult> results, const LatencyBenchmarkOptions& options);

}  // namespace outrider
