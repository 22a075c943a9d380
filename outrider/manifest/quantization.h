#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

// One entry of config_groups (compressed-tensors, modelopt): modules and their storage.
struct QuantizationGroup {
  std::string name;                  // "group_0"
  std::vector<std::string> targets;  // module names, "re:" regular expressions, or class names such as "Linear"
  std::uint64_t num_bits = 0;
  std::string type;                        // "int", "float"
  std::string strategy;                    // "block", "group", "tensor_group", "channel", "tensor"
  std::optional<std::int64_t> group_size;  // elements of one row that share a scale; absent: per block, channel, tensor
};

// An entry of modelopt's quantized_layers.
struct QuantizedLayer {
  std::string module;      // "layers.3.ffn.experts"; may be a glob
  std::string quant_algo;  // "NVFP4", "FP8"
};

// A description of how modules are stored: quantization_config in config.json, or hf_quant_config.json.
struct QuantizationConfig {
  std::string quant_method;  // "fp8", "compressed-tensors", "modelopt", …
  std::string format;
  std::string scale_fmt;
  std::string quant_algo;      // modelopt: for all linears; "MIXED_PRECISION" if quantized_layers gives it by module
  std::string moe_quant_algo;  // NVIDIA's DeepSeek-V4 releases: for the routed experts
  std::string kv_cache_quant_algo;  // empty if the cache is not quantised
  std::vector<std::uint64_t> weight_block_size;
  std::vector<QuantizationGroup> groups;
  std::vector<std::string> ignore;         // ignore, or exclude_modules in hf_quant_config.json
  std::vector<std::string> not_converted;  // modules_to_not_convert, or ignored_layers: left unquantised
  std::vector<QuantizedLayer> quantized_layers;
  std::uint64_t bits = 0;   // for methods without groups (GPTQ, AWQ, MLX)
  bool transforms = false;  // compressed-tensors' transform_config: activations are rotated at run time

  // MLX writes bits and group_size only.
  bool is_mlx() const { return quant_method.empty() && bits != 0; }
};

// Reads the fields of such an object, except weight_block_size. Fields of an unexpected type are ignored.
QuantizationConfig read_quantization(const nlohmann::json& object);

// Parses an hf_quant_config.json, whose fields are under "quantization". Throws Error if it is not a JSON object.
QuantizationConfig read_hf_quant_config(std::string_view text);

}  // namespace outrider
