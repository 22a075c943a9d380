#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "outrider/manifest/config_fields.h"

namespace outrider::deepseek_v4 {

// Bounds on untrusted sizes.
inline constexpr std::uint64_t kMaxLayers = 4096;
inline constexpr std::uint64_t kMaxDrafterLayers = 64;

// Reads DeepSeek-V4's config.json in either spelling.
class ConfigReader : private ConfigFields {
 public:
  using ConfigFields::ConfigFields;
  void read(const HintSource& source);

 private:
  // config_reader.cc
  void read_sizes();
  void read_expert_count(const ConfigHints& hints);
  void read_numbers();
  void read_router();
  void fixed(const char* field, const nlohmann::json& only);
  void read_nextn(const ConfigHints& hints);
  void read_dspark();
  void read_quantization();
  void check_consistency();

  // config_rope.cc
  void read_rope_dims();
  void read_rope();
  void read_theta(const char* field, const char* part, double& out);
  bool nested_rope() const;
  // transformers can leave the compressed layers unscaled, with rope_type "default".
  bool compressed_layers_are_unscaled() const;
  const nlohmann::json* rope_parameters(const char* part) const;

  // config_layers.cc
  void read_layers(const ConfigHints& hints);
  void correct_layers(const ConfigHints& hints, const char* field);
  void read_hash_layers(const ConfigHints& hints);
  std::vector<LayerAttention> layer_types();
  std::vector<LayerAttention> compress_ratios();
  std::optional<std::vector<bool>> mlp_layer_types();
};

}  // namespace outrider::deepseek_v4
