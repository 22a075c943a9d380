#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "outrider/architectures/deepseek_v4/architecture.h"
#include "outrider/manifest/architecture.h"

namespace outrider {
namespace {

constexpr const Architecture* kArchitectures[] = {
    &deepseek_v4::kArchitecture,
};

}  // namespace

std::span<const Architecture* const> architectures() {
  return kArchitectures;
}

const Architecture* recognise_architecture(ConfigReading& reading) {
  const std::string& type = reading.traits.model_type;
  for (const Architecture* architecture : kArchitectures) {
    if (architecture->model_type == type) return architecture;
  }
  if (type == "deepseek_v41" || (type.empty() && reading.traits.engram)) {
    reading.issues.push_back(
        {ConfigIssue::Kind::kUnsupported, "model_type",
         "this is DeepSeek-V4.1 (nested text_config, engram tables), another architecture than DeepSeek-V4; Outrider "
         "does not run it"});
    return nullptr;
  }
  std::vector<std::string> known;
  for (const Architecture* architecture : kArchitectures)
    known.push_back(fmt::format("\"{}\"", architecture->model_type));
  if (!type.empty()) {
    reading.issues.push_back(
        {ConfigIssue::Kind::kUnsupported, "model_type",
         fmt::format("model_type is \"{}\"; Outrider runs {} only", type, fmt::join(known, ", "))});
    return nullptr;
  }
  // DeepSeek's inference code has configs without model_type.
  if (reading.spelling == ConfigSpelling::kHuggingFace) {
    reading.issues.push_back({ConfigIssue::Kind::kMissing, "model_type",
                              fmt::format("model_type is missing: {} is expected", fmt::join(known, ", "))});
  }
  return &deepseek_v4::kArchitecture;
}

}  // namespace outrider
