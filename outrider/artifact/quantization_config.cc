#include "outrider/artifact/quantization_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/artifact/module_targets.h"
#include "outrider/check/module_pattern.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

struct Survey {
  ModuleTargets targets;
  std::set<ModuleForm> forms;
  std::set<StorageForm> experts;           // quantised forms of routed experts
  std::set<StorageForm> others;            // of all other linears
  std::vector<std::string> unquantised;    // linears that the release quantises; experts by parent module
  std::vector<std::string> nvfp4;          // parents of experts in modelopt's NVFP4
  std::vector<std::string> other_experts;  // parents of other experts
  bool packed = false;                     // weight_packed
  bool weight_scale = false;               // FP8 scales under compressed-tensors' name
  bool e8m0 = false;
};

void add_once(std::vector<std::string>& list, std::string_view name) {
  if (list.empty() || list.back() != name) list.emplace_back(name);
}

Survey survey(const BindingReport& binding) {
  Survey out;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Binding& b = binding.bindings[p];
    const Parameter& parameter = (*binding.manifest)[p];
    const Storage storage = parameter.spec().storage;
    if (!b.bound || b.shared) continue;
    if (storage != Storage::kLinear && storage != Storage::kLinearNative) continue;
    const auto t = b.tensor(b.codes());
    const std::string name = binding.stored_name(*t);
    const std::string_view module = std::string_view(name).substr(0, name.rfind('.'));
    const bool expert = parameter.expert >= 0;
    // "layers.3.ffn.experts" of "layers.3.ffn.experts.7.w1", and of a stack.
    const std::size_t experts = expert ? name.rfind(".experts.") : std::string::npos;
    const std::string_view holder =
        experts == std::string::npos ? module : module.substr(0, experts + std::string_view(".experts").size());
    const ModuleForm form{b.form, b.group_size};
    if (b.part == ExpertPart::kNone) out.targets.add(module, form);
    const bool either = parameter.slot == Slot::kWoA || parameter.slot == Slot::kEProj ||
                        parameter.slot == Slot::kHProj || parameter.slot == Slot::kMainProj;
    if (expert) add_once(b.form == StorageForm::kNvfp4Modelopt ? out.nvfp4 : out.other_experts, holder);
    if (form.form == StorageForm::kPlain) {
      if (storage == Storage::kLinear && !either) add_once(out.unquantised, holder);
      continue;
    }
    out.forms.insert(form);
    (expert ? out.experts : out.others).insert(b.form);
    out.packed = out.packed || b.tensor(Component::kWeightPacked);
    out.weight_scale =
        out.weight_scale || (form.form == StorageForm::kFp8Block && b.tensor(Component::kWeightScale).has_value());
    const auto scale = b.tensor(Component::kScale) ? b.tensor(Component::kScale) : b.tensor(Component::kWeightScaleInv);
    out.e8m0 = out.e8m0 || (scale && binding.tensor(*scale).dtype == Dtype::kF8E8M0);
  }
  return out;
}

const FormDescription& description_of(ModuleForm form) {
  return storage_form(form.form).description;
}

// compressed-tensors' QuantizationArgs for the weights of a form.
ordered_json weights_of(ModuleForm form) {
  const QuantizationArgs& args = description_of(form).weights;
  ordered_json out = {{"num_bits", args.num_bits},
                      {"type", args.type},
                      {"symmetric", true},
                      {"dynamic", false},
                      {"strategy", args.strategy}};
  if (storage_form(form.form).grid == ScaleGrid::kBlocks) {
    out["block_structure"] = {128, 128};
  } else {
    out["group_size"] = form.group_size;
  }
  return out;
}

// Activations are rounded to FP8 at run time for FP8 weights, and not rounded for four-bit ones.
ordered_json activations_of(ModuleForm form) {
  if (!description_of(form).fp8_activations) return nullptr;
  return {{"num_bits", 8},   {"type", "float"},     {"symmetric", true},
          {"dynamic", true}, {"strategy", "group"}, {"group_size", 128}};
}

std::string text_in(const ordered_json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

// Whether a group of config_groups describes modules that are stored in a form.
bool describes(const ordered_json& group, ModuleForm form) {
  const auto weights = group.find("weights");
  if (weights == group.end() || !weights->is_object()) return false;
  const auto number = [&](const char* key) {
    const auto it = weights->find(key);
    return it != weights->end() && it->is_number_unsigned() ? it->get<std::uint32_t>() : 0U;
  };
  const std::string type = text_in(*weights, "type");
  const std::string strategy = text_in(*weights, "strategy");
  const QuantizationArgs args{number("num_bits"), type, strategy, number("group_size")};
  const bool same_groups = storage_form(form.form).grid != ScaleGrid::kAnyGroups || args.group_size == form.group_size;
  const auto is_group = description_of(form).is_group;
  return same_groups && is_group != nullptr && is_group(args);
}

ordered_json group(const Survey& found, ModuleForm form) {
  return {{"format", description_of(form).format},
          {"input_activations", activations_of(form)},
          {"output_activations", nullptr},
          {"targets", found.targets.of(form)},
          {"weights", weights_of(form)}};
}

constexpr auto kNvfp4Modelopt = StorageForm::kNvfp4Modelopt;

std::vector<std::string> strings_in(const ordered_json& object, const char* key) {
  std::vector<std::string> out;
  const auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return out;
  for (const ordered_json& entry : *it) {
    if (entry.is_string()) out.push_back(entry.get<std::string>());
  }
  return out;
}

void erase(ordered_json& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys) object.erase(key);
}

// Fields that only quant_method "fp8" has.
void erase_fp8_fields(ordered_json& out) {
  erase(out, {"moe_quant_algo", "quantized_layers", "modules_to_not_convert", "ignored_layers"});
}

// An existing group of a form keeps its name and its other fields: activations, observers, order.
ordered_json groups_of(const ordered_json& old, const Survey& found, bool experts_first,
                       std::set<std::string>& formats) {
  ordered_json groups = ordered_json::object();
  std::vector<ModuleForm> forms(found.forms.begin(), found.forms.end());
  if (experts_first) std::ranges::reverse(forms);
  const ordered_json was = old.value("config_groups", ordered_json::object());
  for (const ModuleForm& form : forms) {
    formats.emplace(description_of(form).format);
    bool kept = false;
    for (const auto& [name, there] : was.items()) {
      if (kept || !there.is_object() || !describes(there, form) || groups.contains(name)) continue;
      groups[name] = there;
      groups[name]["targets"] = found.targets.of(form);
      kept = true;
    }
    if (kept) continue;
    std::size_t number = groups.size();
    while (groups.contains(fmt::format("group_{}", number)) || was.contains(fmt::format("group_{}", number))) ++number;
    groups[fmt::format("group_{}", number)] = group(found, form);
  }
  return groups;
}

void write_modelopt(ordered_json& out, const Survey& found) {
  std::set<std::string> formats;
  erase_fp8_fields(out);
  out["quant_method"] = "modelopt";
  out["config_groups"] = groups_of(out, found, false, formats);
  out["ignore"] = found.targets.of({});
}

void write_compressed_tensors(ordered_json& out, const Survey& found) {
  std::set<std::string> formats;
  erase_fp8_fields(out);
  out.erase("quant_algo");
  // Experts first, as in published artifacts: four bits before eight.
  out["config_groups"] = groups_of(out, found, true, formats);
  out["format"] = formats.size() == 1 ? *formats.begin() : "mixed-precision";
  out["ignore"] = found.targets.of({});
  out["quant_method"] = "compressed-tensors";
  out["quantization_status"] = "compressed";
}

// Whether "fp8" can describe it: FP8 linears with experts that are unquantised, NVFP4, or of one of the releases'
// forms.
bool is_as_released(const Survey& found) {
  std::set<StorageForm> experts = found.experts;
  experts.erase(kNvfp4Modelopt);
  const bool released = experts.size() <= 1 && std::ranges::none_of(experts, [](StorageForm form) {
                          return storage_form(form).description.expert_dtype.empty();
                        });
  const bool linears = found.others.empty() || found.others == std::set{StorageForm::kFp8Block};
  return released && linears && !found.packed && !found.weight_scale;
}

// NVIDIA's description: the experts of some blocks are NVFP4; those of others, usually the drafter's, as released.
void write_moe_algorithm(ordered_json& out, const Survey& found) {
  out["quant_algo"] = "MIXED_PRECISION";
  out["moe_quant_algo"] = "NVFP4";
  out["group_size"] = 16;
  if (out.contains("quantized_layers")) {
    ordered_json layers = ordered_json::object();
    for (const std::string& module : found.nvfp4) layers[module] = {{"quant_algo", "NVFP4"}, {"group_size", 16}};
    out["quantized_layers"] = layers;
  }
  std::vector<std::string> ignore = strings_in(out, "ignore");
  std::erase_if(ignore, [&](const std::string& entry) {
    const ModulePatterns pattern({entry});
    return std::ranges::any_of(found.nvfp4, [&](const std::string& module) { return pattern.contain(module); });
  });
  for (const std::string& module : found.other_experts) {
    if (ModulePatterns(ignore).contain(module)) continue;
    const std::size_t drafter = module.find("mtp.");
    const std::string glob = drafter == std::string::npos ? module : module.substr(0, drafter) + "mtp.*";
    const bool whole_drafter =
        drafter != std::string::npos && std::ranges::none_of(found.nvfp4, [&](const std::string& other) {
          return other.find("mtp.") != std::string::npos;
        });
    ignore.push_back(whole_drafter ? glob : module);
  }
  out["ignore"] = ignore;
}

void write_fp8(ordered_json& config, ordered_json& out, const Survey& found) {
  out["quant_method"] = "fp8";
  out["fmt"] = "e4m3";
  out["activation_scheme"] = "dynamic";
  out["weight_block_size"] = {128, 128};
  erase(out, {"format", "quantization_status"});
  const bool nvfp4 = found.experts.contains(kNvfp4Modelopt);
  if (nvfp4) {
    write_moe_algorithm(out, found);
  } else {
    erase(out, {"moe_quant_algo", "quantized_layers", "quant_algo", "group_size", "config_groups", "ignore"});
  }
  std::vector<std::string> unquantised = found.unquantised;
  const ModulePatterns ignored(nvfp4 ? strings_in(out, "ignore") : std::vector<std::string>());
  std::erase_if(unquantised, [&](const std::string& module) { return ignored.contain(module); });
  const char* key = out.contains("ignored_layers") ? "ignored_layers" : "modules_to_not_convert";
  erase(out, {"ignored_layers", "modules_to_not_convert"});
  if (!unquantised.empty()) out[key] = unquantised;
  if (nvfp4) config["expert_dtype"] = "fp4";
  for (const StorageForm form : found.experts) {
    const std::string_view dtype = storage_form(form).description.expert_dtype;
    if (!dtype.empty()) config["expert_dtype"] = dtype;
  }
}

}  // namespace

void describe_quantization(ordered_json& config, const BindingReport& binding) {
  const Survey found = survey(binding);
  if (found.forms.empty()) {
    erase(config, {"quantization_config", "expert_dtype"});
    return;
  }
  const auto old = config.find("quantization_config");
  ordered_json out = old != config.end() && old->is_object() ? *old : ordered_json::object();
  const std::string was = text_in(out, "quant_method");
  if (found.e8m0) {
    out["scale_fmt"] = "ue8m0";
  } else {
    out.erase("scale_fmt");
  }
  const bool modelopt = found.experts.contains(kNvfp4Modelopt) || found.others.contains(kNvfp4Modelopt);
  const bool by_experts = was == "fp8" || !text_in(out, "moe_quant_algo").empty();
  if (is_as_released(found) && (modelopt ? by_experts : was != "compressed-tensors")) {
    write_fp8(config, out, found);
  } else if (modelopt) {
    write_modelopt(out, found);
  } else {
    write_compressed_tensors(out, found);
  }
  config.erase("compression_config");
  config["quantization_config"] = std::move(out);
}

}  // namespace outrider
