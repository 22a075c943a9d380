#include "outrider/manifest/model_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "outrider/manifest/architecture.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::json;

bool has(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && !it->is_null();
}

std::string text_of(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

ConfigTraits read_traits(const json& root) {
  ConfigTraits t;
  t.model_type = text_of(root, "model_type");
  t.expert_dtype = text_of(root, "expert_dtype");
  const auto it = root.find("architectures");
  if (it != root.end() && it->is_array() && !it->empty() && (*it)[0].is_string()) {
    t.architecture = (*it)[0].get<std::string>();
  }
  for (const auto& [key, value] : root.items()) {
    if (key.starts_with("vision_") || key == "vision_config") t.vision = true;
    if (key.starts_with("engram_") || key == "text_config") t.engram = true;
  }
  t.has_scale_fmt =
      has(root, "scale_fmt") || (has(root, "quantization_config") && root["quantization_config"].is_object() &&
                                 root["quantization_config"].contains("scale_fmt"));
  return t;
}

}  // namespace

std::optional<std::uint64_t> ModelConfig::num_hash_layers() const {
  const auto end = std::find(hash_layers.begin(), hash_layers.end(), false);
  if (std::find(end, hash_layers.end(), true) != hash_layers.end()) return std::nullopt;
  return static_cast<std::uint64_t>(end - hash_layers.begin());
}

std::array<std::uint64_t, 2> ModelConfig::fp8_block() const {
  if (!quantization || quantization->weight_block_size.size() != 2) return {128, 128};
  return {quantization->weight_block_size[0], quantization->weight_block_size[1]};
}

bool ConfigReading::unsupported() const {
  return std::any_of(issues.begin(), issues.end(),
                     [](const ConfigIssue& i) { return i.kind == ConfigIssue::Kind::kUnsupported; });
}

std::string_view attention_type_name(AttentionType type) {
  switch (type) {
    case AttentionType::kWindow:
      return "sliding_attention";
    case AttentionType::kCompressedSparse:
      return "compressed_sparse_attention";
    case AttentionType::kHeavilyCompressed:
      return "heavily_compressed_attention";
  }
  return "";
}

ConfigReading read_config(std::string_view text, const HintSource& hints) {
  const json root = parse_bounded_json(text, "config.json", kRestoreTheFile);
  if (!root.is_object()) throw Error("config.json: not a JSON object. Restore it from the checkpoint's source.");
  ConfigReading out;
  const bool inference = has(root, "dim") && !has(root, "hidden_size");
  out.spelling = inference ? ConfigSpelling::kInference : ConfigSpelling::kHuggingFace;
  out.traits = read_traits(root);
  const Architecture* architecture = recognise_architecture(out);
  if (architecture == nullptr) return out;
  out.config.architecture = architecture;
  out.shapes_known = true;
  architecture->read_config(root, hints, out);
  return out;
}

}  // namespace outrider
