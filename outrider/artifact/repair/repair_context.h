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

// What the single repairs of tensors work on. Each looks at what check found, changes the draft, and says what it did.
class RepairContext {
 public:
  RepairContext(const CheckReport& report, const CheckReport* reference, const RepairOptions& options,
                RepairPlan& plan);

  bool wants(Code code) const { return options.only.empty() ? is_repaired_unasked(code) : options.only.contains(code); }
  bool asked(Code code) const { return options.only.contains(code); }
  // The finding is there, and to be repaired.
  bool found(Code code) const { return report.has(code) && wants(code); }
  const BindingReport& binding() const { return *report.binding; }

  void act(Code code, std::string what, std::span<const std::string> tensors = {}, std::uint64_t bytes = 0) {
    plan.actions.push_back({code, std::move(what), tensor_patterns(tensors), bytes});
  }

  // Whether two of our tensors have the same values. Reads them.
  bool same_values(TensorId a, TensorId b);
  // Puts the reference's tensors in the place of all that stands for a parameter. `names` and `bytes` get what was
  // restored. False where the reference has no such parameter, or the artifact has other values of it, which are then
  // the only copy: plan.withheld says so of `code`.
  bool restore(Code code, const Parameter& parameter, std::vector<std::string>& names, std::uint64_t& bytes);
  // Whether the reference has nothing else of a parameter than the artifact has. False without a reference.
  bool same_as_reference(const Parameter& parameter);
  // Tensors of no known name that may be a parameter which is missing: of its block, and of as many elements.
  std::vector<TensorId> candidates_for(const Parameter& parameter) const;
  // A tensor of no known name whose name says that it is of a drafter.
  std::optional<std::string> unknown_drafter_tensor() const;
  // Missing parameters that were found in the artifact itself.
  std::set<ParameterId> found_again;
  void withhold(Code code, std::string why) { plan.withheld.emplace(code, std::move(why)); }
  // Present where a reference is.
  const ReferenceValues& reference_values();

  const CheckReport& report;
  const CheckReport* reference;  // nullptr where none was given, or it is no complete model
  const RepairOptions& options;
  RepairPlan& plan;
  Draft draft;
  Spelling spelling;

 private:
  // The tensors whose names say that they are of this parameter.
  std::span<const std::pair<ParameterId, TensorId>> tensors_of(ParameterId id);
  // Whether an expert of this number is the same one in both: of a pruned artifact, one of its parts must tell.
  bool is_same_expert(const Parameter& parameter);
  bool restore_stack(Code code, ParameterId ours, const Binding& source, std::vector<std::string>& names,
                     std::uint64_t& bytes);

  std::vector<std::pair<ParameterId, TensorId>> by_parameter_;
  std::vector<TensorId> unknown_;
  std::set<std::string> restored_stacks_;
  // Opened when they are first needed.
  std::unique_ptr<TensorData> our_data_;
  std::unique_ptr<ReferenceValues> reference_values_;
};

// In the order in which they are to run.
void repair_files(RepairContext& context);      // strays, duplicates, the index
void repair_names(RepairContext& context);      // dialects, spellings of scales
void repair_unwanted(RepairContext& context);   // what must not be there
void repair_missing(RepairContext& context);    // what must, from the reference
void repair_precision(RepairContext& context);  // what must be F32
void repair_drafter(RepairContext& context);    // MTP blocks as released, with their heads and embeddings

// Restores fields of config.json: from the reference's, or from what the tensors say. Returns the new text where it
// changes.
std::optional<std::string> repair_config(const CheckReport& report, const CheckReport* reference,
                                         const RepairOptions& options, std::vector<RepairAction>& actions);
// quantization_config, so that it says what the tensors are. `after`: the artifact to be.
std::optional<std::string> repair_quantization_config(const CheckReport& before, const CheckReport& after,
                                                      const RepairOptions& options, std::vector<RepairAction>& actions);

}  // namespace outrider
