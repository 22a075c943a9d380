#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "outrider/artifact/repair/draft.h"
#include "outrider/artifact/repair/reference_values.h"
#include "outrider/artifact/repair/repair_plan.h"
#include "outrider/check/spelling.h"
#include "outrider/check/tensor_data.h"

namespace outrider {

// State shared by the individual repairs of tensors. Each looks at the findings, changes the draft, and records its
// actions.
class RepairContext {
 public:
  RepairContext(const CheckReport& report, const CheckReport* reference, const RepairOptions& options,
                RepairPlan& plan);

  bool wants(Code code) const { return options.only.empty() ? is_repaired_unasked(code) : options.only.contains(code); }
  bool asked(Code code) const { return options.only.contains(code); }
  // Whether the finding exists and is to be repaired.
  bool found(Code code) const { return report.has(code) && wants(code); }
  const BindingReport& binding() const { return *report.binding; }

  void act(Code code, std::string what, std::span<const std::string> tensors = {}, std::uint64_t bytes = 0) {
    plan.actions.push_back({code, std::move(what), tensor_patterns(tensors), bytes});
  }

  // Whether two of our tensors have the same values. Reads them.
  bool same_values(TensorId a, TensorId b);
  // Replaces all tensors of a parameter by the reference's. Appends to `names` and `bytes` what was restored. False if
  // the reference has no such parameter, or the artifact has different values of it, which are then the only copy:
  // plan.withheld explains it for `code`.
  bool restore(Code code, const Parameter& parameter, std::vector<std::string>& names, std::uint64_t& bytes);
  // Whether the reference's tensors of a parameter equal the artifact's. False without a reference.
  bool same_as_reference(const Parameter& parameter);
  // Tensors with unknown names that may be a missing parameter: in its block, with as many elements.
  std::vector<TensorId> candidates_for(const Parameter& parameter) const;
  // A tensor with an unknown name that mentions a drafter.
  std::optional<std::string> unknown_drafter_tensor() const;
  // Missing parameters that were found in the artifact itself.
  std::set<ParameterId> found_again;
  void withhold(Code code, std::string why) { plan.withheld.emplace(code, std::move(why)); }
  // Requires a reference.
  const ReferenceValues& reference_values();

  const CheckReport& report;
  const CheckReport* reference;  // nullptr if none was given, or it is not a complete model
  const RepairOptions& options;
  RepairPlan& plan;
  Draft draft;
  Spelling spelling;

 private:
  // The tensors that are named after this parameter.
  std::span<const std::pair<ParameterId, TensorId>> tensors_of(ParameterId id);
  // Whether an expert number means the same expert in both; in a pruned artifact, one of the expert's parts must prove
  // it.
  bool is_same_expert(const Parameter& parameter);
  bool restore_stack(Code code, ParameterId ours, const Binding& source, std::vector<std::string>& names,
                     std::uint64_t& bytes);

  std::vector<std::pair<ParameterId, TensorId>> by_parameter_;
  std::vector<TensorId> unknown_;
  std::set<std::string> restored_stacks_;
  // Opened on first use.
  std::unique_ptr<TensorData> our_data_;
  std::unique_ptr<ReferenceValues> reference_values_;
};

// In the order in which they must run.
void repair_files(RepairContext& context);      // stray files, duplicates, the index
void repair_names(RepairContext& context);      // dialects, spellings of scales
void repair_unwanted(RepairContext& context);   // tensors that must not exist
void repair_missing(RepairContext& context);    // tensors that must exist, from the reference
void repair_precision(RepairContext& context);  // tensors that must be F32
void repair_drafter(RepairContext& context);    // MTP blocks as released, with their heads and embeddings

// Restores fields of config.json from the reference's, or from the tensors. Returns the new text if it changes.
std::optional<std::string> repair_config(const CheckReport& report, const CheckReport* reference,
                                         const RepairOptions& options, std::vector<RepairAction>& actions);
// Rewrites quantization_config to match the tensors. `after`: the resulting artifact.
std::optional<std::string> repair_quantization_config(const CheckReport& before, const CheckReport& after,
                                                      const RepairOptions& options, std::vector<RepairAction>& actions);

}  // namespace outrider
