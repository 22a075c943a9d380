#include <fmt/format.h>

#include <algorithm>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <map>
#include <memory>

#include "outrider/check/context.h"

namespace outrider {
namespace {

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct MatchContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

// One entry of targets or ignore, with compressed-tensors' meaning: "re:" and a regular expression that matches from
// the start of the module's name, a class name, or a module's name.
class Target {
 public:
  explicit Target(const std::string& text) : text_(text) {
    if (!text.starts_with("re:")) return;
    int error = 0;
    PCRE2_SIZE where = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data() + 3), text.size() - 3,
                              PCRE2_UTF | PCRE2_ANCHORED, &error, &where, nullptr));
    invalid_ = code_ == nullptr;
    data_.reset(pcre2_match_data_create(1, nullptr));
    limits_.reset(pcre2_match_context_create(nullptr));
    // The expression comes from an untrusted file.
    pcre2_set_match_limit(limits_.get(), 20'000);
    pcre2_set_depth_limit(limits_.get(), 1'000);
  }

  bool invalid() const { return invalid_; }
  const std::string& text() const { return text_; }

  bool matches(std::string_view module) const {
    if (text_ == "Linear") return true;
    if (code_ == nullptr) return !invalid_ && module == text_;
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(module.data()), module.size(), 0, 0, data_.get(),
                       limits_.get()) >= 0;
  }

 private:
  std::string text_;
  bool invalid_ = false;
  std::unique_ptr<pcre2_code, CodeDeleter> code_;
  std::unique_ptr<pcre2_match_data, MatchDeleter> data_;
  std::unique_ptr<pcre2_match_context, MatchContextDeleter> limits_;
};

struct Group {
  const QuantizationGroup* config;
  std::vector<Target> targets;
  std::uint64_t matches = 0;
};

std::string module_of(std::string_view tensor) {
  return std::string(tensor.substr(0, tensor.rfind('.')));
}

// The same module in the other dialect, to tell why a target does not match.
std::string other_dialect(const BindingReport& binding, ParameterId p, TensorId t) {
  const Parameter& parameter = (*binding.manifest)[p];
  const bool hf = !binding.names[t].dialect.hugging_face;
  return module_of(tensor_name(parameter.block, parameter.slot, parameter.expert, Component::kWeight, hf, hf));
}

void check_groups(CheckContext& context, const QuantizationConfig& config) {
  const BindingReport& binding = context.binding();
  std::vector<Group> groups;
  for (const QuantizationGroup& g : config.groups) {
    Group group{&g, {}};
    for (const std::string& target : g.targets) group.targets.emplace_back(target);
    groups.push_back(std::move(group));
  }
  std::vector<Target> ignore;
  for (const std::string& entry : config.ignore) ignore.emplace_back(entry);
  for (const auto& list : groups) {
    for (const Target& target : list.targets) {
      if (target.invalid()) {
        context.add(Code::kQuantizationConfigMismatch,
                    fmt::format("the target \"{}\" is no valid regular expression", target.text()));
      }
    }
  }

  std::vector<std::string> undeclared;
  std::vector<std::string> not_quantised;
  std::vector<std::string> other_group_size;
  std::string group_size_example;
  bool other_dialect_matches = false;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Parameter& parameter = (*binding.manifest)[p];
    const Binding& b = binding.bindings[p];
    const Storage storage = parameter.spec().storage;
    if (!b.bound || b.shared || b.part != ExpertPart::kNone) continue;
    if (storage != Storage::kLinear && storage != Storage::kLinearNative) continue;
    const auto t = b.tensor(Component::kWeight) ? b.tensor(Component::kWeight) : b.tensor(Component::kWeightPacked);
    const std::string name = binding.stored_name(*t);
    const bool quantised = b.form != StorageForm::kPlain;
    // Experts beyond the first and last are named alike; patterns that tell them apart by number do not occur.
    const bool speaks = parameter.expert <= 0 ||
                        parameter.expert + 1 == static_cast<std::int32_t>(context.reading().config.n_routed_experts);
    if (b.form == StorageForm::kW4A16) {
      std::optional<std::int64_t> size;
      for (const Group& g : groups) {
        if (g.config->num_bits == 4 && g.config->type != "float" && g.config->group_size) size = g.config->group_size;
      }
      if (size && *size > 0 && static_cast<std::uint64_t>(*size) != b.group_size) {
        other_group_size.push_back(binding.stored_name(*b.tensor(Component::kWeightScale)));
        if (group_size_example.empty()) {
          group_size_example = fmt::format("{} has a scale for every {} columns, group_size in config.json is {}",
                                           other_group_size[0], b.group_size, *size);
        }
      }
    }
    if (!speaks) continue;
    const std::string module = module_of(name);
    const auto matches = [](const std::vector<Target>& targets, const std::string& m) {
      return std::any_of(targets.begin(), targets.end(), [&](const Target& target) { return target.matches(m); });
    };
    const bool ignored = matches(ignore, module);
    bool declared = false;
    for (Group& g : groups) {
      if (!matches(g.targets, module)) continue;
      declared = declared || !ignored;
      ++g.matches;
    }
    if (quantised && !declared) {
      undeclared.push_back(name);
      const std::string other = other_dialect(binding, p, *t);
      for (const Group& g : groups) other_dialect_matches = other_dialect_matches || matches(g.targets, other);
    } else if (!quantised && declared) {
      not_quantised.push_back(name);
    }
  }
  if (!undeclared.empty()) {
    context.add(Code::kQuantizationConfigMismatch,
                fmt::format("{} quantised on disk although targets and ignore say otherwise, for instance {}{}",
                            undeclared.size() == 1 ? "a module is" : "modules are", undeclared[0],
                            other_dialect_matches ? "; the targets would match the other dialect's names" : ""),
                undeclared);
  }
  if (!not_quantised.empty()) {
    context.add(Code::kQuantizationConfigMismatch,
                fmt::format("{} not quantised on disk although targets and ignore say so, for instance {}",
                            not_quantised.size() == 1 ? "a module is" : "modules are", not_quantised[0]),
                not_quantised);
  }
  if (!other_group_size.empty()) {
    context.add(Code::kQuantizationConfigMismatch, group_size_example, other_group_size);
  }
  for (const Group& g : groups) {
    if (g.matches == 0 && !g.targets.empty()) {
      context.add(Code::kQuantizationConfigMismatch,
                  fmt::format("the targets of {} match no module of the checkpoint (first: \"{}\")", g.config->name,
                              g.targets[0].text()));
    }
  }
}

}  // namespace

void check_quantization_config(CheckContext& context) {
  const std::optional<QuantizationConfig>& config = context.reading().config.quantization;
  const BindingReport& binding = context.binding();
  // Nothing on disk, nothing to disagree with.
  if (binding.names_only || std::ranges::none_of(binding.bindings, &Binding::bound)) return;
  std::vector<std::string> quantised;
  std::vector<std::string> group_size;
  bool any_quantised = false;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Binding& b = binding.bindings[p];
    if (!b.bound || b.form == StorageForm::kPlain) continue;
    if (!config) {
      const auto t = b.tensor(Component::kWeight) ? b.tensor(Component::kWeight) : b.tensor(Component::kWeightPacked);
      quantised.push_back(binding.stored_name(*t));
    } else if (config->groups.empty()) {
      any_quantised = true;
      if (b.form == StorageForm::kW4A16 && b.group_size != 128) {
        group_size.push_back(binding.stored_name(*b.tensor(Component::kWeightScale)));
      }
    }
  }
  if (!group_size.empty()) {
    context.add(
        Code::kQuantizationConfigMismatch,
        fmt::format("{} has another group size than 128, the default, and config.json states none", group_size[0]),
        group_size);
  }
  if (!config) {
    if (!quantised.empty()) {
      context.add(Code::kQuantizationConfigMismatch,
                  fmt::format("{} quantised but config.json has no quantization_config",
                              quantised.size() == 1 ? "a weight is" : grouped(quantised.size()) + " weights are"),
                  quantised, "Restore quantization_config from the source's config.json.");
    }
    return;
  }
  if (!config->groups.empty()) {
    check_groups(context, *config);
  } else if (!any_quantised && !config->quant_method.empty()) {
    context.add(Code::kQuantizationConfigMismatch,
                fmt::format("quantization_config says \"{}\" but no weight is quantised", config->quant_method), {},
                "Remove quantization_config from config.json.");
  }
}

}  // namespace outrider
