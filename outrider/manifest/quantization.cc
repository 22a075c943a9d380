#include "outrider/manifest/quantization.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "outrider/util/bounded_json.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::json;

void append_strings(const json& object, const char* key, std::vector<std::string>& out) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return;
  for (const json& entry : *it) {
    if (entry.is_string()) out.push_back(entry.get<std::string>());
  }
}

std::string string_in(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

const json* object_in(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_object() ? &*it : nullptr;
}

std::uint64_t number_in(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

QuantizationGroup read_group(const std::string& name, const json& group) {
  QuantizationGroup out;
  out.name = name;
  append_strings(group, "targets", out.targets);
  if (const json* weights = object_in(group, "weights")) {
    out.num_bits = number_in(*weights, "num_bits");
    out.type = string_in(*weights, "type");
    out.strategy = string_in(*weights, "strategy");
    const auto size = weights->find("group_size");
    if (size != weights->end() && size->is_number_integer()) out.group_size = size->get<std::int64_t>();
  }
  return out;
}

}  // namespace

QuantizationConfig read_quantization(const json& object) {
  QuantizationConfig q;
  q.quant_method = string_in(object, "quant_method");
  q.format = string_in(object, "format");
  q.scale_fmt = string_in(object, "scale_fmt");
  q.quant_algo = string_in(object, "quant_algo");
  q.moe_quant_algo = string_in(object, "moe_quant_algo");
  q.kv_cache_quant_algo = string_in(object, "kv_cache_quant_algo");
  q.bits = number_in(object, "bits");
  for (const char* key : {"ignore", "exclude_modules"}) append_strings(object, key, q.ignore);
  for (const char* key : {"modules_to_not_convert", "ignored_layers"}) append_strings(object, key, q.not_converted);
  if (const json* layers = object_in(object, "quantized_layers")) {
    for (const auto& [module, layer] : layers->items()) {
      if (layer.is_object()) q.quantized_layers.push_back({module, string_in(layer, "quant_algo")});
    }
  }
  if (const json* groups = object_in(object, "config_groups")) {
    for (const auto& [name, group] : groups->items()) {
      if (group.is_object()) q.groups.push_back(read_group(name, group));
    }
  }
  if (const json* transform = object_in(object, "transform_config")) {
    const json* groups = object_in(*transform, "config_groups");
    q.transforms = groups != nullptr && !groups->empty();
  }
  return q;
}

QuantizationConfig read_hf_quant_config(std::string_view text) {
  const json root = parse_bounded_json(text, "hf_quant_config.json", kRestoreTheFile);
  const json* quantization = root.is_object() ? object_in(root, "quantization") : nullptr;
  if (!root.is_object()) throw Error("hf_quant_config.json: not a JSON object.");
  return read_quantization(quantization != nullptr ? *quantization : root);
}

}  // namespace outrider
