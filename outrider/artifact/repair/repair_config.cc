#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "outrider/artifact/quantization_config.h"
#include "outrider/artifact/repair/repair_context.h"
#include "outrider/check/context.h"
#include "outrider/check/quantization_files.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

ordered_json parse(const std::string& text) {
  // It was parsed before, with its bounds checked.
  return ordered_json::parse(text, nullptr, false);
}

// Fields that describe how an artifact is stored or was saved, rather than the model.
constexpr std::array kOfTheArtifact = {
    "quantization_config", "expert_dtype",         "torch_dtype", "dtype", "auto_map",
    "_name_or_path",       "transformers_version", "use_cache"};

// The names of fields in "hidden_size (dim)", "compress_ratios | layer_types", "rope_scaling.factor".
std::vector<std::string> field_names(const std::string& issue) {
  std::vector<std::string> out;
  std::string name;
  bool inside = true;  // of a name, up to the first character that ends it
  for (const char c : issue + " ") {
    const bool part = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    if (part && inside) {
      name += c;
    } else if (c == '.' || c == '[') {
      inside = false;
    } else if (!part && c != ']') {
      if (!name.empty()) out.push_back(std::exchange(name, {}));
      inside = true;
    }
  }
  return out;
}

// compress_ratios, if it can express layer_types and compress_rates: it has 4 for layers with an indexer.
std::optional<std::vector<std::uint64_t>> compress_ratios(const ModelConfig& config) {
  std::vector<std::uint64_t> ratios;
  for (const LayerAttention& layer : config.layers) {
    if (layer.compressed() && (layer.compress_ratio == 4) != (layer.type == AttentionType::kCompressedSparse))
      return std::nullopt;
    ratios.push_back(layer.compress_ratio);
  }
  ratios.resize(ratios.size() + config.num_nextn_predict_layers);
  return ratios;
}

class Restorer {
 public:
  Restorer(const CheckReport& report, const CheckReport* reference)
      : report_(report), ours_(parse(report.checkpoint->config_json())) {
    if (reference != nullptr) theirs_ = parse(reference->checkpoint->config_json());
  }

  // Takes every field that an issue names from the reference.
  void take(const ConfigIssue& issue, std::vector<std::string>& fields) {
    if (!theirs_.is_object()) return;
    for (const std::string& name : field_names(issue.field)) {
      if (theirs_.contains(name)) {
        set(name, theirs_[name], fields);
      } else if (ours_.contains(name) && issue.kind == ConfigIssue::Kind::kContradiction) {
        ours_.erase(name);
        fields.push_back(name);
      }
    }
  }

  // Takes every model field that differs from the reference.
  void take_all(std::vector<std::string>& fields) {
    if (!theirs_.is_object()) return;
    for (const auto& [name, value] : theirs_.items()) {
      if (std::find(kOfTheArtifact.begin(), kOfTheArtifact.end(), name) != kOfTheArtifact.end()) continue;
      if (!ours_.contains(name) || ours_[name] != value) set(name, value, fields);
    }
  }

  // Infers a missing field from the tensors on disk.
  void infer(const ConfigIssue& issue, std::vector<std::string>& fields) {
    const ModelConfig& config = report_.config->config;
    if (issue.by_tensors) return set_by_tensors(issue.field, fields);
    if (issue.kind != ConfigIssue::Kind::kMissing || issue.message.find("the tensors on disk say") == std::string::npos)
      return;
    if (issue.field.starts_with("compress_ratios")) {
      if (const auto ratios = compress_ratios(config)) set("compress_ratios", *ratios, fields);
    } else if (issue.field.starts_with("num_hash_layers")) {
      set("num_hash_layers", config.num_hash_layers().value_or(0), fields);
    } else if (issue.field.starts_with("num_nextn_predict_layers")) {
      set("num_nextn_predict_layers", config.num_nextn_predict_layers, fields);
    }
  }

  // Sets a field that contradicts the tensors to the value that reading assumed.
  void set_by_tensors(const std::string& field, std::vector<std::string>& fields) {
    const ModelConfig& c = report_.config->config;
    if (field == "n_routed_experts") {
      set(field, c.n_routed_experts, fields);
    } else if (field == "num_hash_layers") {
      if (const auto count = c.num_hash_layers()) set(field, *count, fields);
    } else if (field == "mlp_layer_types") {
      set_entries(field, c.layers.size(), fields, [&](std::size_t i) { return c.hash_layers[i] ? "hash_moe" : "moe"; });
    } else if (field == "compress_ratios") {
      set_entries(field, c.layers.size(), fields, [&](std::size_t i) { return c.layers[i].compress_ratio; });
      if (ours_.contains("layer_types")) set_by_tensors("layer_types", fields);
    } else if (field == "layer_types") {
      set_entries(field, c.layers.size(), fields,
                  [&](std::size_t i) { return std::string(attention_type_name(c.layers[i].type)); });
    }
  }

  // Adds the releases' fields beside the equivalent ones of transformers.
  void add_release_fields(std::vector<std::string>& fields) {
    const ModelConfig& c = report_.config->config;
    for (const std::string& field : report_.config->traits.release_fields_lacking) {
      if (field == "compress_ratios") {
        if (const auto ratios = compress_ratios(c)) set(field, *ratios, fields);
      } else if (field == "num_hash_layers") {
        if (const auto count = c.num_hash_layers()) set(field, *count, fields);
      } else if (field == "qk_rope_head_dim") {
        set(field, c.qk_rope_head_dim, fields);
      } else if (field == "rope_theta") {
        set(field, c.rope_theta, fields);
      } else if (field == "compress_rope_theta") {
        set(field, c.compress_rope_theta, fields);
      } else if (field == "rope_scaling" && c.yarn) {
        set(field,
            {{"type", "yarn"},
             {"factor", c.yarn->factor},
             {"original_max_position_embeddings", c.yarn->original_max_position_embeddings},
             {"beta_fast", c.yarn->beta_fast},
             {"beta_slow", c.yarn->beta_slow}},
            fields);
      }
    }
  }

  void set(const std::string& name, const ordered_json& value, std::vector<std::string>& fields) {
    if (ours_.contains(name) && ours_[name] == value) return;
    ours_[name] = value;
    if (std::find(fields.begin(), fields.end(), name) == fields.end()) fields.push_back(name);
  }

  ordered_json& config() { return ours_; }

 private:
  // Sets the first entries of a list, one per layer; the drafter's entries after them are kept.
  template <typename Value>
  void set_entries(const std::string& field, std::size_t count, std::vector<std::string>& fields, const Value& value) {
    ordered_json list = ours_.value(field, ordered_json::array());
    if (!list.is_array() || list.size() < count) return;
    for (std::size_t i = 0; i < count; ++i) list[i] = value(i);
    set(field, list, fields);
  }

  const CheckReport& report_;
  ordered_json ours_;
  ordered_json theirs_;
};

}  // namespace

namespace {

// A description that was correct before the repair becomes correct again once it ignores the added tensors: the
// drafter's own head and embedding, unquantised. Nothing if it has no list of ignored modules.
std::optional<std::string> ignore_added(const CheckReport& before, const CheckReport& after, ordered_json config) {
  const auto quantization = config.find("quantization_config");
  if (quantization == config.end() || !quantization->is_object() || !(*quantization)["ignore"].is_array())
    return std::nullopt;
  const BindingReport& made = *after.binding;
  for (ParameterId p = 0; p < made.bindings.size(); ++p) {
    const Binding& b = made.bindings[p];
    if (!(*made.manifest)[p].falls_back_to || !b.bound || b.shared || b.form != StorageForm::kPlain) continue;
    const std::string name = made.stored_name(*b.tensor(Component::kWeight));
    if (before.checkpoint->find(name) == nullptr) (*quantization)["ignore"].push_back(name.substr(0, name.rfind('.')));
  }
  return config.dump(2) + "\n";
}

}  // namespace

std::optional<std::string> repair_config(const CheckReport& report, const CheckReport* reference,
                                         const RepairOptions& options, std::vector<RepairAction>& actions) {
  const auto wants = [&](Code code) {
    return report.has(code) && (options.only.empty() ? is_repaired_unasked(code) : options.only.contains(code));
  };
  if (report.config->unsupported()) return std::nullopt;
  Restorer restorer(report, reference);
  if (!restorer.config().is_object()) return std::nullopt;
  bool changed = false;
  const auto act = [&](Code code, const std::vector<std::string>& fields, std::string_view from) {
    if (fields.empty()) return;
    changed = true;
    actions.push_back({code, fmt::format("restore {} in config.json from {}", fmt::join(fields, ", "), from), {}, 0});
  };
  for (const Code code : {Code::kConfigFieldMissing, Code::kConfigContradiction}) {
    if (!wants(code)) continue;
    const bool missing = code == Code::kConfigFieldMissing;
    std::vector<std::string> taken;
    std::vector<std::string> inferred;
    for (const ConfigIssue& issue : report.config->issues) {
      if ((issue.kind == ConfigIssue::Kind::kMissing) != missing) continue;
      const std::size_t before = taken.size();
      // The reference's value would add the experts that were pruned.
      if (!issue.by_tensors) restorer.take(issue, taken);
      if (taken.size() == before) restorer.infer(issue, inferred);
    }
    act(code, taken, "the reference");
    act(code, inferred, "the tensors");
  }
  if (wants(Code::kTransformersConfig)) {
    std::vector<std::string> added;
    restorer.add_release_fields(added);
    if (!added.empty()) {
      changed = true;
      actions.push_back({Code::kTransformersConfig,
                         fmt::format("add the releases' {} to config.json", fmt::join(added, ", ")),
                         {},
                         0});
    }
  }
  if (wants(Code::kReferenceConfig) && reference != nullptr &&
      report.config->config.n_routed_experts == reference->config->config.n_routed_experts) {
    std::vector<std::string> taken;
    restorer.take_all(taken);
    act(Code::kReferenceConfig, taken, "the reference");
  }
  const auto quantization = restorer.config().find("quantization_config");
  if (wants(Code::kScaleFormatUndeclared) && quantization != restorer.config().end() && quantization->is_object()) {
    (*quantization)["scale_fmt"] = "ue8m0";
    changed = true;
    actions.push_back({Code::kScaleFormatUndeclared, "add scale_fmt \"ue8m0\" to quantization_config", {}, 0});
  }
  if (!changed) return std::nullopt;
  return restorer.config().dump(2) + "\n";
}

std::optional<std::string> repair_quantization_config(const CheckReport& before, const CheckReport& after,
                                                      const RepairOptions& options,
                                                      std::vector<RepairAction>& actions) {
  constexpr Code kCode = Code::kQuantizationConfigMismatch;
  const bool asked = options.only.empty() || options.only.contains(kCode);
  if (!after.has(kCode) || !asked || after.binding == nullptr) return std::nullopt;
  ordered_json config = parse(after.checkpoint->config_json());
  if (!config.is_object()) return std::nullopt;
  // A method that is unknown cannot be rewritten.
  const auto& quantization = after.config->config.quantization;
  if (quantization && !is_known_quant_method(quantization->quant_method)) return std::nullopt;
  // Engines fall back on hf_quant_config.json if config.json has no description.
  if (!quantization && !before.has(kCode) && before.checkpoint->side_file(kHfQuantConfig, kMaxQuantizationFileBytes)) {
    return std::nullopt;
  }
  if (!before.has(kCode)) {
    if (auto text = ignore_added(before, after, config)) {
      actions.push_back({kCode, "add the new tensors' modules to ignore in quantization_config", {}, 0});
      return text;
    }
  }
  describe_quantization(config, *after.binding);
  actions.push_back({kCode,
                     before.has(kCode) ? "rewrite quantization_config to match the tensors"
                                       : "rewrite quantization_config to match the repaired tensors",
                     {},
                     0});
  return config.dump(2) + "\n";
}

}  // namespace outrider
