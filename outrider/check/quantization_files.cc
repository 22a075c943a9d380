#include "outrider/check/quantization_files.h"

#include <algorithm>
#include <system_error>

namespace outrider {

std::vector<std::string> quantization_files(const std::filesystem::path& directory) {
  std::vector<std::string> out;
  if (directory.empty()) return out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    const bool description = name.starts_with("quant_model_description") && name.ends_with(".json");
    if (name == kHfQuantConfig || name == "quantize_config.json" || name == "quant_config.json" || description) {
      out.push_back(name);
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace outrider
