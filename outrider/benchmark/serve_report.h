#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "outrider/benchmark/serve_benchmark.h"

namespace outrider {

// What the report of a run tells.
struct ServeReportOptions {
  // Of "ttft", "tpot", "itl", "e2el", "client_queue_time", "e2el_including_client_queue".
  std::vector<std::string> metrics = {"ttft", "tpot", "itl"};
  std::vector<double> percentiles = {99};
  // Requests count as good that keep within these (milliseconds): "ttft", "tpot", "e2el".
  std::map<std::string, double> goodput;
  bool detailed = false;  // the JSON tells of each request
};

// Throws Error for names that are none of those.
void validate(const ServeReportOptions& options);

// The keys of `vllm bench serve --save-result` (vllm/benchmarks/serve.py) that come of the run itself, in its order.
nlohmann::ordered_json serve_report_json(const ServeRun& run, const ServeBenchmarkOptions& options,
                                         const ServeReportOptions& report);

// The same as a table, as vLLM prints it, and the first errors.
std::string serve_report_text(const ServeRun& run, const ServeBenchmarkOptions& options,
                              const ServeReportOptions& report);

}  // namespace outrider
