#include "outrider/artifact/quantization_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {
namespace {

using nlohmann::ordered_json;

// How a module is stored, as far as config_groups tell modules apart.
struct ModuleForm {
  StorageForm form = StorageForm::kPlain;
  std::uint32_t group_size = 0;

  friend auto operator<=>(const ModuleForm&, const ModuleForm&) = default;
};

// A module's name as a pattern with its numbers: "layers.3.ffn.experts.7.w1".
struct ModuleName {
  std::string pattern;  // "layers.*.ffn.experts.*.w1"
  std::string first;    // "3"
};

bool is_number(std::string_view piece) {
  return !piece.empty() && piece.find_first_not_of("0123456789") == std::string_view::npos;
}

ModuleName split(std::string_view name) {
  ModuleName out;
  while (true) {
    const std::size_t dot = name.find('.');
    const std::string_view piece = name.substr(0, dot);
    if (is_number(piece) && out.first.empty()) out.first = piece;
    out.pattern += is_number(piece) ? "*" : std::string(piece);
    if (dot == std::string_view::npos) return out;
    out.pattern += '.';
    name.remove_prefix(dot + 1);
  }
}

// "layers.*.x" as a regular expression; the first number one of `firsts`, where there are any.
std::string expression(std::string_view pattern, const std::set<std::string>& firsts) {
  std::string out;
  bool first = true;
  for (const char c : pattern) {
    if (c == '.') {
      out += "\\.";
    } else if (c != '*') {
      out += c;
    } else if (first && !firsts.empty()) {
      out += firsts.size() == 1 ? *firsts.begin() : fmt::format("({})", fmt::join(firsts, "|"));
      first = false;
    } else {
      out += "\\d+";
      first = false;
    }
  }
  return out;
}

// The fewest expressions that tell modules of one form from those of all others.
class Targets {
 public:
  void add(std::string_view module, ModuleForm form) {
    const ModuleName name = split(module);
    Pattern& pattern = patterns_[name.pattern];
    pattern.forms.insert(form);
    pattern.blocks[name.first].insert(form);
    pattern.modules[form].emplace_back(module);
  }

  std::vector<std::string> of(ModuleForm form) const {
    // By what stands before the last piece, and the blocks: the last pieces.
    std::map<std::pair<std::string, std::set<std::string>>, std::vector<std::string>> grouped;
    std::vector<std::string> out;
    for (const auto& [text, pattern] : patterns_) {
      if (!pattern.forms.contains(form)) continue;
      std::set<std::string> blocks;
      bool apart = true;
      if (pattern.forms.size() > 1) {
        for (const auto& [block, forms] : pattern.blocks) {
          if (forms.contains(form)) blocks.insert(block);
          apart = apart && (forms.size() == 1 || !forms.contains(form));
        }
      }
      if (!apart || text.find('.') == std::string::npos) {
        for (const std::string& module : pattern.modules.at(form)) out.push_back(module);
        continue;
      }
      const std::size_t dot = text.rfind('.');
      grouped[{text.substr(0, dot), blocks}].push_back(text.substr(dot + 1));
    }
    for (const auto& [where, leaves] : grouped) {
      std::string prefix = where.first;
      if (prefix.starts_with("model.")) prefix.erase(0, 6);
      out.push_back(fmt::format("re:.*{}\\.{}$", expression(prefix, where.second),
                                leaves.size() == 1 ? leaves[0] : fmt::format("({})", fmt::join(leaves, "|"))));
    }
    return out;
  }

 private:
  struct Pattern {
    std::set<ModuleForm> forms;
    std::map<std::string, std::set<ModuleForm>> blocks;  // by first number
    std::map<ModuleForm, std::vector<std::string>> modules;
  };
  std::map<std::string, Pattern> patterns_;
};

struct Survey {
  Targets targets;
  std::set<ModuleForm> forms;
  bool packed = false;        // weight_packed
  bool weight_scale = false;  // FP8 scales under compressed-tensors' name
  bool modelopt = false;
  bool e8m0 = false;
};

Survey survey(const BindingReport& binding) {
  Survey out;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Binding& b = binding.bindings[p];
    const Storage storage = (*binding.manifest)[p].spec().storage;
    if (!b.bound || b.shared || b.part != ExpertPart::kNone) continue;
    if (storage != Storage::kLinear && storage != Storage::kLinearNative) continue;
    const auto t = b.tensor(Component::kWeight) ? b.tensor(Component::kWeight) : b.tensor(Component::kWeightPacked);
    const std::string name = binding.stored_name(*t);
    const ModuleForm form{b.form, b.form == StorageForm::kPlain ? 0 : b.group_size};
    out.targets.add(std::string_view(name).substr(0, name.rfind('.')), form);
    if (form.form == StorageForm::kPlain) continue;
    out.forms.insert(form);
    out.packed = out.packed || b.tensor(Component::kWeightPacked);
    out.modelopt = out.modelopt || form.form == StorageForm::kNvfp4Modelopt;
    out.weight_scale =
        out.weight_scale || (form.form == StorageForm::kFp8Block && b.tensor(Component::kWeightScale).has_value());
    const auto scale = b.tensor(Component::kScale) ? b.tensor(Component::kScale) : b.tensor(Component::kWeightScaleInv);
    out.e8m0 = out.e8m0 || (scale && binding.tensor(*scale).dtype == Dtype::kF8E8M0);
  }
  return out;
}

std::string format_of(ModuleForm form) {
  switch (form.form) {
    case StorageForm::kW4A16:
      return "pack-quantized";
    case StorageForm::kNvfp4:
    case StorageForm::kNvfp4Modelopt:
      return "nvfp4-pack-quantized";
    case StorageForm::kMxfp4:
      return "mxfp4-pack-quantized";
    default:
      return "float-quantized";
  }
}

// compressed-tensors' QuantizationArgs of a form's weights.
ordered_json weights_of(ModuleForm form) {
  ordered_json out = {{"num_bits", form.form == StorageForm::kFp8Block ? 8 : 4},
                      {"type", form.form == StorageForm::kW4A16 ? "int" : "float"},
                      {"symmetric", true},
                      {"dynamic", false}};
  switch (form.form) {
    case StorageForm::kFp8Block:
      out["strategy"] = "block";
      out["block_structure"] = {128, 128};
      break;
    case StorageForm::kNvfp4:
    case StorageForm::kNvfp4Modelopt:
      out["strategy"] = "tensor_group";
      out["group_size"] = form.group_size;
      break;
    default:
      out["strategy"] = "group";
      out["group_size"] = form.group_size;
  }
  return out;
}

// Activations are rounded to FP8 at run time beside FP8 weights, and left alone beside four-bit ones.
ordered_json activations_of(ModuleForm form) {
  if (form.form != StorageForm::kFp8Block) return nullptr;
  return {{"num_bits", 8},   {"type", "float"},     {"symmetric", true},
          {"dynamic", true}, {"strategy", "group"}, {"group_size", 128}};
}

ordered_json group(const Survey& found, ModuleForm form) {
  return {{"format", format_of(form)},
          {"input_activations", activations_of(form)},
          {"output_activations", nullptr},
          {"targets", found.targets.of(form)},
          {"weights", weights_of(form)}};
}

}  // namespace

ordered_json quantization_config(const BindingReport& binding, const ordered_json& old) {
  const Survey found = survey(binding);
  if (found.forms.empty()) return nullptr;
  ordered_json out = old.is_object() ? old : ordered_json::object();
  const auto method = out.find("quant_method");
  const std::string was = method != out.end() && method->is_string() ? method->get<std::string>() : "";
  const std::vector<std::string> ignore = found.targets.of({});
  if (found.e8m0) {
    out["scale_fmt"] = "ue8m0";
  } else {
    out.erase("scale_fmt");
  }
  if (found.modelopt) {
    out["quant_method"] = "modelopt";
    ordered_json groups = ordered_json::object();
    for (const ModuleForm& form : found.forms) groups[fmt::format("group_{}", groups.size())] = group(found, form);
    out["config_groups"] = groups;
    out["ignore"] = ignore;
    return out;
  }
  if (found.packed || found.weight_scale || was == "compressed-tensors") {
    ordered_json groups = ordered_json::object();
    std::set<std::string> formats;
    // Experts first, as published artifacts have it: four bits before eight.
    for (auto form = found.forms.rbegin(); form != found.forms.rend(); ++form) {
      groups[fmt::format("group_{}", groups.size())] = group(found, *form);
      formats.insert(format_of(*form));
    }
    out["config_groups"] = groups;
    out["format"] = formats.size() == 1 ? *formats.begin() : "mixed-precision";
    out["ignore"] = ignore;
    out["quant_method"] = "compressed-tensors";
    out["quantization_status"] = "compressed";
    return out;
  }
  out["quant_method"] = "fp8";
  out["fmt"] = "e4m3";
  out["activation_scheme"] = "dynamic";
  out["weight_block_size"] = {128, 128};
  for (const char* other : {"config_groups", "ignore", "format", "quantization_status"}) out.erase(other);
  return out;
}

}  // namespace outrider
