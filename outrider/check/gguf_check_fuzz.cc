#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "outrider/check/gguf_check.h"
#include "outrider/check/report.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/testing/memory_file.h"

using outrider::testing::require;

// Any GGUF file either fails with an Error or has a report that a terminal can show and whose JSON is valid.
FUZZ_TARGET(gguf_check) {
  const outrider::testing::MemoryFile file(input);
  const auto report = outrider::check_gguf(file.path());
  if (!report) return;
  require(report_text(*report).find('\x1b') == std::string::npos);
  require(nlohmann::json::parse(report_json(*report)).at("findings").size() == report->findings.size());
  parameter_map(*report);
}
