#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/binding/plan.h"

namespace outrider {

// Decides for one parameter after the other in which storage form its claimed tensors hold it, and checks shape, dtype
// and companions (docs/storage-forms.md). Changes only what belongs to the parameter: its binding, and the use of the
// tensors it claimed. Two resolvers may therefore work on different parameters at once.
class Resolver {
 public:
  explicit Resolver(BindingReport& report);
  void resolve(ParameterId p);

  std::vector<BindingFault> faults;

 private:
  using FaultKind = BindingFault::Kind;

  const TensorInfo& tensor(TensorId t) const { return report_.checkpoint->tensors()[t]; }
  const Parameter& parameter(ParameterId p) const { return (*report_.manifest)[p]; }
  void use(TensorId t, TensorUse how) { report_.uses[t] = how; }
  void fault(FaultKind kind, ParameterId p, std::optional<TensorId> t, std::string detail,
             std::optional<Component> companion = std::nullopt);
  bool has(const Binding& b, Component c) const { return b.tensors[static_cast<std::size_t>(c)] >= 0; }
  void transposed_fault(ParameterId p, TensorId t, std::string detail);
  // Releases the components outside of `keep` with a reason.
  void release(Binding& b, const ComponentSet& keep, TensorUse reason, ParameterId p, bool is_fault);
  std::string weight_description(const Binding& b) const;
  // Without dtypes and shapes, only names can speak: which companions stand beside the weight.
  void resolve_names(ParameterId p, Binding& b);
  std::optional<TensorId> need(ParameterId p, const Binding& b, Component c);
  // What the missing companion would be called beside the weight that is there.
  std::string companion_name(ParameterId p, const Binding& b, Component c) const;
  bool expect_parameter_shape(ParameterId p, TensorId t);
  bool expect_dtype(ParameterId p, TensorId t, bool allowed, FaultKind kind, std::string_view expected);
  void resolve_unquantised(ParameterId p, Binding& b);
  void resolve_stacked(ParameterId p, Binding& b);
  // Of the tensors of a stack [experts, rows, cols]: what does not fit the form, nothing where all does.
  std::optional<BindingFault> fault_of_stack(ParameterId p, Binding& b, std::uint64_t experts, std::uint64_t rows,
                                             std::uint64_t cols);
  void resolve_linear(ParameterId p, Binding& b);
  // The tensor that `part` of a form is, where it is there; a fault where it must be.
  std::optional<TensorId> tensor_of(ParameterId p, Binding& b, const FormTensor& part);
  void expect_part(ParameterId p, TensorId t, const FormTensor& part, const WeightShape& weight);
  // The one tensor among X.scale, X.weight_scale and X.weight_scale_inv that stands beside a weight.
  std::optional<Component> only_scale(ParameterId p, Binding& b);
  void check_truncation(ParameterId p, const Binding& b);

  BindingReport& report_;
  std::array<std::uint64_t, 2> fp8_block_;
  bool any_truncated_ = false;
};

}  // namespace outrider
