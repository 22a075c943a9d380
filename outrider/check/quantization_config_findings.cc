#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "outrider/check/context.h"
#include "outrider/check/declared_forms.h"
#include "outrider/check/quantization_files.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

// The default group size of W4A16.
constexpr std::int64_t kUsualGroup = 128;

std::string module_of(std::string_view tensor) {
  return std::string(tensor.substr(0, tensor.rfind('.')));
}

// "model.layers.3.mlp.experts" of "model.layers.3.mlp.experts.gate_up_proj", with or without ".weight".
std::string holder_of_stack(std::string_view tensor) {
  return module_of(tensor.ends_with(".weight") ? module_of(tensor) : tensor);
}

TensorId codes_of(const Binding& b) {
  return *b.tensor(b.codes());
}

// The same module in the other dialect, to explain why a target does not match.
std::string other_dialect(const BindingReport& binding, ParameterId p, TensorId t) {
  const Parameter& parameter = (*binding.manifest)[p];
  const bool hf = !binding.names[t].dialect.hugging_face;
  return module_of(tensor_name(parameter, Component::kWeight, hf, hf));
}

// Weights with the same storage form and the same, different declaration.
struct Mismatch {
  std::vector<std::string> names;
  bool other_dialect_matches = false;
};
struct MismatchKind {
  bool drafter = false;
  StorageForm stored = StorageForm::kPlain;
  std::string declared;

  friend auto operator<=>(const MismatchKind&, const MismatchKind&) = default;
};
using Mismatches = std::map<MismatchKind, Mismatch>;

Mismatches mismatches(const CheckContext& context, DeclaredForms& declared) {
  const BindingReport& binding = context.binding();
  const auto last_expert = static_cast<std::int32_t>(context.reading().config.n_routed_experts) - 1;
  std::array<FormSet, kSlotCount> of_slot;
  Mismatches out;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Parameter& parameter = (*binding.manifest)[p];
    const Binding& b = binding.bindings[p];
    const Storage storage = parameter.spec().storage;
    if (!b.bound || b.shared) continue;
    if (storage != Storage::kLinear && storage != Storage::kLinearNative) continue;
    const bool stack = b.part != ExpertPart::kNone;
    // Targets name linears, which a stack is not. Report a stack once.
    if (stack && (declared.by_targets() || parameter.expert != 0 || parameter.slot == Slot::kExpertW3)) continue;
    // Experts beyond the first and last have similar names; patterns do not distinguish them by number.
    FormSet& forms = of_slot[static_cast<std::size_t>(parameter.slot)];
    if (parameter.expert <= 0 || parameter.expert == last_expert) {
      const std::string name = binding.stored_name(codes_of(b));
      forms = declared.of(parameter, stack ? holder_of_stack(name) : module_of(name));
    }
    if (forms.has(b.form)) continue;
    Mismatch& mismatch = out[{is_drafter(parameter.block), b.form, form_set_text(forms)}];
    mismatch.names.push_back(binding.stored_name(codes_of(b)));
    mismatch.other_dialect_matches =
        mismatch.other_dialect_matches || (declared.by_targets() && b.form != StorageForm::kPlain &&
                                           declared.targets_match(other_dialect(binding, p, codes_of(b))));
  }
  return out;
}

// What an engine that follows the description does with such weights.
std::string consequence(const MismatchKind& kind) {
  const std::string garbage = kind.drafter ? "garbage drafts" : "garbage text";
  if (kind.stored == StorageForm::kMxfp4 && kind.declared == "NVFP4") {
    return fmt::format("; the codes have the same shape, so an engine continues and reads the E8M0 scales as E4M3: {}",
                       garbage);
  }
  if (kind.stored == StorageForm::kPlain) {
    return fmt::format("; an engine builds quantised modules and finds no scales for them: loading fails, or {}",
                       garbage);
  }
  if (kind.declared == "unquantised") return "; an engine builds unquantised modules: out of memory, or unknown names";
  return fmt::format("; an engine reads codes and scales as those of another form: loading fails, or {}", garbage);
}

// If only the drafter is described wrongly, an entry for it is the smallest remedy.
std::string remedy(const MismatchKind& kind, const QuantizationConfig& config) {
  if (!kind.drafter || kind.declared == "unquantised") return {};
  if (!config.moe_quant_algo.empty()) {
    return "Add \"mtp.*\" to ignore in quantization_config, and leave mtp.* out of quantized_layers. Or: `outrider "
           "repair`.";
  }
  if (kind.stored != StorageForm::kPlain) return {};
  if (config.quant_method == "fp8") {
    return "Name these modules in modules_to_not_convert (vLLM: ignored_layers) of quantization_config. Or: `outrider "
           "repair`.";
  }
  return "Add the drafter to ignore in quantization_config (compressed-tensors: \"re:mtp\\\\..*\"; modelopt: "
         "\"mtp.*\"). Or: `outrider repair`.";
}

std::string mismatch_text(const MismatchKind& kind, const Mismatch& mismatch, std::string_view where) {
  const bool one = mismatch.names.size() == 1;
  if (kind.declared == "unquantised") {
    return fmt::format("{} quantised on disk ({}) although {} otherwise, for instance {}{}",
                       one ? "a module is" : "modules are", storage_form_name(kind.stored), where, mismatch.names[0],
                       mismatch.other_dialect_matches ? "; the targets would match the other dialect's names" : "");
  }
  return fmt::format("{}: {} stored {}, declared {}, for instance {}{}", tensor_patterns(mismatch.names)[0].pattern,
                     one ? "1 weight is" : "weights are",
                     kind.stored == StorageForm::kPlain ? "unquantised" : storage_form_name(kind.stored), kind.declared,
                     mismatch.names[0], consequence(kind));
}

void check_targets(CheckContext& context, const DeclaredForms& declared) {
  for (const DeclaredForms::Group& group : declared.groups()) {
    for (const ModulePattern& target : group.targets) {
      if (target.invalid()) {
        context.add(Code::kQuantizationConfigMismatch,
                    fmt::format("the target \"{}\" is not a valid regular expression", target.text()));
      }
    }
  }
}

void check_group_sizes(CheckContext& context, const QuantizationConfig& config) {
  const BindingReport& binding = context.binding();
  std::optional<std::int64_t> stated;
  for (const QuantizationGroup& g : config.groups) {
    if (g.num_bits == 4 && g.type != "float" && g.group_size) stated = g.group_size;
  }
  if (!config.groups.empty() && !(stated && *stated > 0)) return;
  const std::int64_t size = stated.value_or(kUsualGroup);
  std::vector<std::string> other;
  std::string message;
  for (const Binding& b : binding.bindings) {
    const bool any = storage_form(b.form).grid == ScaleGrid::kAnyGroups;
    if (!b.bound || !any || b.group_size == static_cast<std::uint64_t>(size)) continue;
    other.push_back(binding.stored_name(*b.tensor(Component::kWeightScale)));
    if (!message.empty()) continue;
    message =
        stated ? fmt::format("{} has a scale for every {} columns, but group_size in config.json is {}", other[0],
                             b.group_size, size)
               : fmt::format("{} does not have the default group size {}, and config.json states none", other[0], size);
  }
  if (!other.empty()) context.add(Code::kQuantizationConfigMismatch, message, other);
}

bool any_quantised(const BindingReport& binding) {
  return std::ranges::any_of(binding.bindings,
                             [](const Binding& b) { return b.bound && b.form != StorageForm::kPlain; });
}

std::vector<std::string> quantised_weights(const BindingReport& binding) {
  std::vector<std::string> out;
  for (const Binding& b : binding.bindings) {
    if (b.bound && b.form != StorageForm::kPlain) out.push_back(binding.stored_name(codes_of(b)));
  }
  return out;
}

void check_description(CheckContext& context, const QuantizationConfig& config) {
  DeclaredForms declared(config, context.reading().traits.expert_dtype);
  check_targets(context, declared);
  const std::string_view where = declared.by_targets() ? "targets and ignore say" : "quantization_config says";
  for (const auto& [kind, mismatch] : mismatches(context, declared)) {
    context.add(Code::kQuantizationConfigMismatch, mismatch_text(kind, mismatch, where), mismatch.names,
                remedy(kind, config));
  }
  check_group_sizes(context, config);
  for (const DeclaredForms::Group& g : declared.groups()) {
    if (g.matches != 0 || g.targets.empty()) continue;
    context.add(Code::kQuantizationConfigMismatch,
                fmt::format("the targets of {} match no module of the checkpoint (first: \"{}\")", g.config->name,
                            g.targets[0].text()));
  }
}

// Checks files beside config.json that describe the quantisation. Returns the contents of hf_quant_config.json.
std::optional<QuantizationConfig> check_files_beside(CheckContext& context) {
  std::optional<QuantizationConfig> out;
  for (const std::string& name : quantization_files(context.checkpoint().root())) {
    const auto add = [&](std::string message, std::span<const std::string> tensors = {}) {
      context.add(Code::kStaleQuantizationFile, std::move(message), tensors);
    };
    if (name != kHfQuantConfig) {
      add(fmt::format("{} describes weights of a different form than the tensors", printable(name)));
      continue;
    }
    const std::optional<QuantizationConfig>& config = context.reading().config.quantization;
    try {
      const auto text = context.checkpoint().side_file(name, kMaxQuantizationFileBytes);
      if (text) out = read_hf_quant_config(*text);
    } catch (const Error& error) {
      add(fmt::format("{} cannot be read: {}", name, error.what()));
    }
    if (!out) continue;
    if (out->moe_quant_algo.empty() && config) out->moe_quant_algo = config->moe_quant_algo;
    DeclaredForms declared(*out, context.reading().traits.expert_dtype);
    const Mismatches found = mismatches(context, declared);
    const auto differs = [](const std::string& a, const std::string& b) { return !a.empty() && !b.empty() && a != b; };
    if (!found.empty()) {
      const auto& [kind, mismatch] = *found.begin();
      add(fmt::format("{} does not match the tensors: {}", name, mismatch_text(kind, mismatch, "it says")),
          mismatch.names);
    } else if (!any_quantised(context.binding()) && !out->quant_algo.empty()) {
      add(fmt::format("{} declares \"{}\" but no weight is quantised", name, printable(out->quant_algo)));
    } else if (config && differs(config->quant_algo, out->quant_algo)) {
      add(fmt::format("{} declares quant_algo \"{}\", but config.json \"{}\"", name, printable(out->quant_algo),
                      printable(config->quant_algo)));
    } else if (config && differs(config->kv_cache_quant_algo, out->kv_cache_quant_algo)) {
      add(fmt::format("{} declares kv_cache_quant_algo \"{}\", but config.json \"{}\"", name,
                      printable(out->kv_cache_quant_algo), printable(config->kv_cache_quant_algo)));
    }
  }
  return out;
}

}  // namespace

void check_quantization_config(CheckContext& context) {
  const BindingReport& binding = context.binding();
  // Without tensors there is nothing to compare.
  if (binding.names_only || std::ranges::none_of(binding.bindings, &Binding::bound)) return;
  const std::optional<QuantizationConfig> beside = check_files_beside(context);
  const std::optional<QuantizationConfig>& config = context.reading().config.quantization;
  if (!config && beside) return;  // engines fall back on it; it was checked above
  const bool quantised = any_quantised(binding);
  if (!config) {
    if (!quantised) return;
    const std::vector<std::string> names = quantised_weights(binding);
    context.add(Code::kQuantizationConfigMismatch,
                fmt::format("{} quantised but config.json has no quantization_config",
                            names.size() == 1 ? "a weight is" : grouped(names.size()) + " weights are"),
                names, "Restore quantization_config from the source's config.json.");
    return;
  }
  const std::string method = printable(config->quant_method);
  if (!is_known_quant_method(config->quant_method)) {
    context.add(
        Code::kQuantizationConfigMismatch,
        fmt::format(
            "quant_method \"{}\" is unknown, so quantization_config was not compared with the tensors; the tensors "
            "are in forms that Outrider reads",
            method),
        {}, "Ask the author of the artifact which engine supports this method. `outrider repair` does not change it.");
  } else if (quantised && !is_read_quant_method(config->quant_method)) {
    const std::vector<std::string> names = quantised_weights(binding);
    context.add(Code::kQuantizationConfigMismatch,
                fmt::format("quantization_config declares \"{}\" but no weight is stored in that form, for instance {}",
                            method, names[0]),
                names);
  } else if (!quantised && config->groups.empty() && !config->quant_method.empty()) {
    // Codes with missing or unknown scales count as quantised.
    if (std::ranges::any_of(binding.faults, [](const BindingFault& fault) {
          return fault.kind == BindingFault::Kind::kMissingCompanion || fault.kind == BindingFault::Kind::kWrongDtype ||
                 fault.kind == BindingFault::Kind::kWrongCompanion;
        }))
      return;
    context.add(Code::kQuantizationConfigMismatch,
                fmt::format("quantization_config declares \"{}\" but no weight is quantised", method), {},
                "Remove quantization_config from config.json.");
  } else {
    check_description(context, *config);
  }
}

}  // namespace outrider
