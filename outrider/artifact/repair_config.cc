#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "outrider/artifact/quantization_config.h"
#include "outrider/artifact/repair_context.h"
#include "outrider/check/context.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

ordered_json parse(const std::string& text) {
  // It was read once already, with its bounds checked.
  return ordered_json::parse(text, nullptr, false);
}

// Fields that say how an artifact is stored or was saved, not what model it is.
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

class Restorer {
 public:
  Restorer(const CheckReport& report, const CheckReport* reference)
      : report_(report), ours_(parse(report.checkpoint->config_json())) {
    if (reference != nullptr) theirs_ = parse(reference->checkpoint->config_json());
  }

  // From the reference, every field that an issue names.
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

  // Every field of the model that is not as in the reference.
  void take_all(std::vector<std::string>& fields) {
    if (!theirs_.is_object()) return;
    for (const auto& [name, value] : theirs_.items()) {
      if (std::find(kOfTheArtifact.begin(), kOfTheArtifact.end(), name) != kOfTheArtifact.end()) continue;
      if (!ours_.contains(name) || ours_[name] != value) set(name, value, fields);
    }
  }

  // What the tensors on disk say of a field that is lost.
  void infer(const ConfigIssue& issue, std::vector<std::string>& fields) {
    const ModelConfig& config = report_.config->config;
    if (issue.kind != ConfigIssue::Kind::kMissing || issue.message.find("the tensors on disk say") == std::string::npos)
      return;
    if (issue.field.starts_with("compress_ratios")) {
      std::vector<std::uint64_t> ratios;
      for (const LayerAttention& layer : config.layers) ratios.push_back(layer.compress_ratio);
      ratios.resize(ratios.size() + config.num_nextn_predict_layers);
      set("compress_ratios", ratios, fields);
    } else if (issue.field.starts_with("num_hash_layers")) {
      set("num_hash_layers", config.num_hash_layers, fields);
    } else if (issue.field.starts_with("num_nextn_predict_layers")) {
      set("num_nextn_predict_layers", config.num_nextn_predict_layers, fields);
    }
  }

  void set(const std::string& name, const ordered_json& value, std::vector<std::string>& fields) {
    if (ours_.contains(name) && ours_[name] == value) return;
    ours_[name] = value;
    if (std::find(fields.begin(), fields.end(), name) == fields.end()) fields.push_back(name);
  }

  ordered_json& config() { return ours_; }

 private:
  const CheckReport& report_;
  ordered_json ours_;
  ordered_json theirs_;
};

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
      restorer.take(issue, taken);
      if (taken.size() == before) restorer.infer(issue, inferred);
    }
    act(code, taken, "the reference");
    act(code, inferred, "what the tensors say");
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
  const ordered_json made = quantization_config(*after.binding, config.value("quantization_config", ordered_json()));
  if (made.is_null()) {
    config.erase("quantization_config");
  } else {
    config["quantization_config"] = made;
  }
  actions.push_back({kCode,
                     before.has(kCode) ? "write quantization_config so that it says what the tensors are"
                                       : "write quantization_config for the tensors as they will be",
                     {},
                     0});
  return config.dump(2) + "\n";
}

}  // namespace outrider
