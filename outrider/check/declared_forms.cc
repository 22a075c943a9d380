#include "outrider/check/declared_forms.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace outrider {
namespace {

using enum StorageForm;

constexpr FormSet kUnquantised = {kPlain};
constexpr FormSet kFp8 = {kFp8Block};

template <typename Is>
FormSet forms_where(const Is& is) {
  FormSet out;
  for (const StorageFormSpec* spec : storage_forms()) {
    if (is(*spec)) out = out.with({spec->form});
  }
  return out;
}

// Any quantised form: the description does not specify which in a known way.
FormSet or_any_quantised(FormSet forms) {
  return forms != FormSet() ? forms : forms_where([](const StorageFormSpec& spec) { return spec.quantised(); });
}

// modelopt's QUANTIZATION_* names.
FormSet forms_of_algorithm(std::string_view algorithm) {
  if (algorithm.empty() || algorithm == "MIXED_PRECISION") return FormSet::any();
  return or_any_quantised(forms_where([&](const StorageFormSpec& spec) {
    return spec.description.is_algorithm != nullptr && spec.description.is_algorithm(algorithm);
  }));
}

FormSet forms_of_group(const QuantizationGroup& g) {
  const QuantizationArgs weights{g.num_bits, g.type, g.strategy, g.group_size};
  return or_any_quantised(forms_where([&](const StorageFormSpec& spec) {
    return spec.description.is_group != nullptr && spec.description.is_group(weights);
  }));
}

// Of routed experts beside quant_method "fp8".
FormSet forms_of_expert_dtype(std::string_view expert_dtype) {
  const FormSet forms = forms_where([&](const StorageFormSpec& spec) {
    const std::string_view own = spec.description.expert_dtype;
    return !own.empty() && (expert_dtype.empty() || expert_dtype == own);
  });
  return forms != FormSet() ? forms : FormSet::any();
}

std::vector<std::string> modules_of(const std::vector<QuantizedLayer>& layers) {
  std::vector<std::string> out;
  for (const QuantizedLayer& layer : layers) out.push_back(layer.module);
  return out;
}

bool is_modelopt(const QuantizationConfig& q) {
  return q.quant_method.starts_with("modelopt") || q.quant_method == "nvfp4" ||
         (q.quant_method.empty() && !q.quant_algo.empty());
}

// The stored name of a module and vLLM's name of the module it is loaded into: published targets use either.
std::vector<std::string> engine_names(const Parameter& parameter, std::string_view module) {
  std::vector<std::string> out = {std::string(module)};
  const std::string holder(module.substr(0, module.rfind('.') + 1));
  const auto add = [&](std::initializer_list<std::string_view> leaves) {
    for (const std::string_view leaf : leaves) out.push_back(holder + std::string(leaf));
  };
  switch (parameter.slot) {
    case Slot::kWqA:
    case Slot::kWkv:
      add({"fused_wqa_wkv"});
      break;
    case Slot::kCompressorWkv:
    case Slot::kCompressorWgate:
    case Slot::kIndexerCompressorWkv:
    case Slot::kIndexerCompressorWgate:
      add({"fused_wkv_wgate"});
      break;
    case Slot::kExpertW1:
    case Slot::kSharedW1:
      add({"gate_proj", "gate_up_proj"});
      break;
    case Slot::kExpertW3:
    case Slot::kSharedW3:
      add({"up_proj", "gate_up_proj"});
      break;
    case Slot::kExpertW2:
    case Slot::kSharedW2:
      add({"down_proj"});
      break;
    default:
      break;
  }
  return out;
}

bool is_routed_expert(const Parameter& p) {
  return p.spec().group == ModuleGroup::kExperts;
}

bool is_native(const Parameter& p) {
  return p.spec().storage == Storage::kLinearNative;
}

}  // namespace

std::string form_set_text(FormSet forms) {
  std::vector<std::string_view> out;
  for (const StorageFormSpec* spec : storage_forms()) {
    const std::string_view name = spec->description.name;
    const bool said = std::ranges::find(out, name) != out.end();
    if (spec->quantised() && forms.has(spec->form) && !said) out.push_back(name);
  }
  if (forms.has(kPlain)) out.push_back(storage_form(kPlain).description.name);
  return fmt::format("{}", fmt::join(out, " or "));
}

DeclaredForms::DeclaredForms(const QuantizationConfig& config, std::string_view expert_dtype)
    : config_(config),
      ignore_(config.ignore),
      not_converted_(config.not_converted),
      layers_(modules_of(config.quantized_layers)) {
  const std::string& method = config.quant_method;
  const bool compressed_tensors = method.starts_with("compressed");
  if (method == "fp8" || !config.moe_quant_algo.empty()) {
    kind_ = Kind::kFp8;
    experts_ = forms_of_expert_dtype(expert_dtype);
  } else if (is_modelopt(config) && !config.quantized_layers.empty()) {
    kind_ = Kind::kLayers;
  } else if (!config.groups.empty() && (compressed_tensors || method.empty() || is_modelopt(config))) {
    kind_ = Kind::kTargets;
    strict_ignore_ = compressed_tensors || method.empty();
  } else if (is_modelopt(config) && !config.quant_algo.empty()) {
    kind_ = Kind::kAll;
  } else if (method == "mxfp4") {
    kind_ = Kind::kExperts;
  }
  if (kind_ != Kind::kTargets) return;
  for (const QuantizationGroup& g : config.groups) {
    Group group{&g, forms_of_group(g), {}, 0};
    for (const std::string& target : g.targets) group.targets.emplace_back(target);
    groups_.push_back(std::move(group));
  }
  for (const std::string& entry : config.ignore) ignored_.emplace_back(entry);
}

FormSet DeclaredForms::of(const Parameter& parameter, std::string_view module) {
  switch (kind_) {
    case Kind::kNothing:
      return FormSet::any();
    case Kind::kTargets:
      return by_groups(parameter, module);
    case Kind::kFp8:
      return by_fp8(parameter, module);
    case Kind::kLayers:
      if (const auto forms = listed(module)) return *forms;
      // NVIDIA's files list the modules converted to NVFP4; the rest is unchanged, in the release's forms.
      if (config_.quant_algo == "MIXED_PRECISION") {
        return is_native(parameter) ? FormSet::any()
                                    : forms_where([](const StorageFormSpec& spec) { return spec.released; });
      }
      return is_native(parameter) ? FormSet::any() : kUnquantised;
    case Kind::kAll:
      if (ignore_.contain(module)) return kUnquantised;
      // Engines build these unquantised even if the config declares all linears.
      return is_native(parameter) ? FormSet::any() : forms_of_algorithm(config_.quant_algo);
    case Kind::kExperts:
      return is_routed_expert(parameter) && !not_converted_.contain(module) ? FormSet({kMxfp4}) : FormSet::any();
  }
  return FormSet::any();
}

std::optional<FormSet> DeclaredForms::listed(std::string_view module) const {
  const auto at = layers_.find(module);
  if (!at) return std::nullopt;
  return forms_of_algorithm(config_.quantized_layers[*at].quant_algo);
}

FormSet DeclaredForms::by_fp8(const Parameter& parameter, std::string_view module) const {
  // OUT061 reports quantised ones.
  if (is_native(parameter)) return FormSet::any();
  if (not_converted_.contain(module)) return kUnquantised;
  const bool ignored = ignore_.contain(module);
  if (is_routed_expert(parameter)) {
    // Everything that is not NVFP4 is as in the release.
    if (config_.moe_quant_algo.empty()) return ignored ? FormSet::any() : experts_;
    if (ignored) return experts_.with(kUnquantised);
    if (config_.quantized_layers.empty()) return forms_of_algorithm(config_.moe_quant_algo);
    return listed(module).value_or(experts_);
  }
  if (const auto forms = listed(module); forms && !ignored) return *forms;
  // Loaders read wo_a and the MTP block's projections either way, and artifacts differ in them.
  const bool either = parameter.slot == Slot::kWoA || parameter.slot == Slot::kEProj ||
                      parameter.slot == Slot::kHProj || parameter.slot == Slot::kMainProj;
  return ignored || either ? kFp8.with(kUnquantised) : kFp8;
}

FormSet DeclaredForms::by_groups(const Parameter& parameter, std::string_view module) {
  const std::vector<std::string> names = engine_names(parameter, module);
  const auto matches = [&](const ModulePattern& pattern) {
    return std::ranges::any_of(names, [&](const std::string& name) { return pattern.matches(name); });
  };
  const bool ignored = strict_ignore_ ? std::ranges::any_of(ignored_, matches) : ignore_.contain(module);
  FormSet by_name;
  FormSet by_class;
  for (Group& group : groups_) {
    const bool named =
        std::ranges::any_of(group.targets, [&](const ModulePattern& t) { return !t.is_class() && matches(t); });
    const bool classed = std::ranges::any_of(group.targets, &ModulePattern::is_class);
    if (!named && !classed) continue;
    ++group.matches;
    FormSet& forms = named ? by_name : by_class;
    forms = forms.with(group.forms);
  }
  if (ignored) return kUnquantised;
  if (by_name != FormSet()) return by_name;
  if (by_class == FormSet()) return kUnquantised;
  return is_native(parameter) ? by_class.with(kUnquantised) : by_class;
}

bool DeclaredForms::targets_match(std::string_view module) const {
  return std::ranges::any_of(groups_, [&](const Group& group) {
    return std::ranges::any_of(group.targets, [&](const ModulePattern& t) { return t.matches(module); });
  });
}

}  // namespace outrider
