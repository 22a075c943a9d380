#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "outrider/benchmark/serve_benchmark.h"

namespace outrider {

// The contents of a run's report.
struct ServeReportOptions {
  // Any of "ttft", "tpot", "itl", "e2el", "client_queue_time", "e2el_including_client_queue".
  std::vector<std::string> metrics = {"ttft", "tpot", "itl"};
  std::vector<double> percentiles = {99};
  // Service level objectives in milliseconds: "ttft", "tpot", "e2el"; requests within all of them count as good.
  std::map<std::string, double> goodput;
  bool detailed = false;  // include each request in the JSON
};

// Throws Error for unknown metrics and values out of range.
void validate(const ServeReportOptions& options);

// The keys of `vllm bench serve --save-result` (vllm/benchmarks/serve.py) that describe the run itself, in its order.
nlohmann::ordered_json serve_report_json(const ServeRun& run, const ServeBenchmarkOptions& options,
                                         const ServeReportOptions& report);

// The same as a table in vLLM's format, and the first errors.
std::string serve_report_text(const ServeRun& run, const ServeBenchmarkOptions& options,
                              const ServeReportOptions& report);

}  // namespace outrider
