#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

// modelopt's description, which vLLM, SGLang and TensorRT-LLM read.
inline constexpr std::string_view kHfQuantConfig = "hf_quant_config.json";
inline constexpr std::uint64_t kMaxQuantizationFileBytes = 64 << 20;

// The files of a directory, beside config.json, that describe how weights are quantised: modelopt's, AutoGPTQ's
// (quantize_config.json), AutoAWQ's (quant_config.json), ModelSlim's (quant_model_description*.json). Sorted.
std::vector<std::string> quantization_files(const std::filesystem::path& directory);

}  // namespace outrider
