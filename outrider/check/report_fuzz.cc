#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "outrider/check/check.h"
#include "outrider/check/report.h"
#include "outrider/check/sarif.h"
#include "outrider/testing/bundled_model.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/testing/temp_dir.h"

using outrider::testing::require;

// Any header, config.json and modelopt's hf_quant_config.json, separated by bytes 0, either fail with an Error or have
// a report that a terminal can show and whose JSON is valid. The data is missing, so the checkpoint is never complete.
FUZZ_TARGET(report) {
  static const outrider::testing::TempDir directory;
  static const std::string config =
      outrider::testing::read_file(outrider::testing::bundled_model_path() + "/config.json");
  const auto [header, rest] = outrider::testing::split_at_zero(input, config);
  const auto [given_config, quantization] = outrider::testing::split_at_zero(rest);
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, sizeof length);
  outrider::testing::write_file(directory / "model.safetensors", file.append(header));
  outrider::testing::write_file(directory / "config.json", given_config.empty() ? config : given_config);
  std::filesystem::remove(directory / "hf_quant_config.json");
  if (!quantization.empty()) outrider::testing::write_file(directory / "hf_quant_config.json", quantization);
  const outrider::CheckReport report = outrider::check_path(directory.path());
  require(!report.complete() && report.exit_status() != 0);
  require(report_text(report).find('\x1b') == std::string::npos);
  require(nlohmann::json::parse(report_json(report)).at("findings").size() == report.findings.size());
  require(nlohmann::json::accept(report_sarif(report)));
  parameter_map(report);
}
