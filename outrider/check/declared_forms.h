#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/binding/plan.h"
#include "outrider/check/module_pattern.h"

namespace outrider {

// The storage forms that a description allows for a module.
class FormSet {
 public:
  constexpr FormSet() = default;
  constexpr FormSet(std::initializer_list<StorageForm> forms) {
    for (const StorageForm form : forms) bits_ |= bit(form);
  }
  static constexpr FormSet any() {
    FormSet out;
    out.bits_ = ~std::uint32_t{0};
    return out;
  }
  constexpr bool has(StorageForm form) const { return (bits_ & bit(form)) != 0; }
  constexpr FormSet with(FormSet other) const {
    other.bits_ |= bits_;
    return other;
  }
  friend constexpr bool operator==(FormSet, FormSet) = default;

 private:
  static constexpr std::uint32_t bit(StorageForm form) { return 1U << static_cast<unsigned>(form); }
  std::uint32_t bits_ = 0;
};
// "NVFP4", "FP8 block or unquantised".
std::string form_set_text(FormSet forms);

// What a description (quantization_config, or hf_quant_config.json) declares for each linear, as interpreted by the
// engines that read it: vLLM's DeepseekV4FP8Config, ModelOpt and CompressedTensors configs.
class DeclaredForms {
 public:
  // `expert_dtype`: from config.json; the form of routed experts under quant_method "fp8".
  DeclaredForms(const QuantizationConfig& config, std::string_view expert_dtype);

  // `module`: the stored name of the parameter's module, "layers.3.ffn.experts.7.w1".
  FormSet of(const Parameter& parameter, std::string_view module);

  // A config group that names modules by targets, for reporting faulty targets.
  struct Group {
    const QuantizationGroup* config = nullptr;
    FormSet forms;
    std::vector<ModulePattern> targets;
    std::uint64_t matches = 0;  // number of matches among the modules queried so far
  };
  bool by_targets() const { return kind_ == Kind::kTargets; }
  const std::vector<Group>& groups() const { return groups_; }
  // Whether a target would match a different name of a module.
  bool targets_match(std::string_view module) const;

 private:
  enum class Kind {
    kNothing,  // declares nothing
    kTargets,  // compressed-tensors and modelopt: config_groups, ignore
    kFp8,      // DeepSeek's own: FP8 linears, experts by expert_dtype or moe_quant_algo
    kLayers,   // modelopt's MIXED_PRECISION: quantized_layers
    kAll,      // modelopt: one quant_algo for every linear except ignored ones
    kExperts,  // mxfp4: routed experts
  };
  FormSet by_fp8(const Parameter& parameter, std::string_view module) const;
  FormSet by_groups(const Parameter& parameter, std::string_view module);
  std::optional<FormSet> listed(std::string_view module) const;

  Kind kind_ = Kind::kNothing;
  const QuantizationConfig& config_;
  FormSet experts_;             // of quant_method fp8
  bool strict_ignore_ = false;  // compressed-tensors: an entry names a module, not the modules within it
  std::vector<Group> groups_;
  std::vector<ModulePattern> ignored_;  // if strict_ignore_
  ModulePatterns ignore_;
  ModulePatterns not_converted_;
  ModulePatterns layers_;
};

}  // namespace outrider
