#include "outrider/artifact/repair_context.h"

#include <algorithm>

#include "outrider/check/context.h"

namespace outrider {

RepairContext::RepairContext(const CheckReport& of, const CheckReport* source, const RepairOptions& with,
                             RepairPlan& into)
    : report(of), reference(source), options(with), plan(into), draft(of.checkpoint), spelling(*of.binding) {}

std::span<const std::pair<ParameterId, TensorId>> RepairContext::tensors_of(ParameterId id) {
  if (by_parameter_.empty()) {
    for (TensorId t = 0; t < binding().names.size(); ++t) {
      const TensorName& name = binding().names[t];
      if (name.kind != TensorName::Kind::kParameter || name.part != ExpertPart::kNone) continue;
      const auto p = binding().manifest->find(name.block, name.slot, name.expert);
      if (p) by_parameter_.emplace_back(*p, t);
    }
    std::sort(by_parameter_.begin(), by_parameter_.end());
  }
  const auto first = std::lower_bound(by_parameter_.begin(), by_parameter_.end(), std::pair(id, TensorId{0}));
  const auto end = std::lower_bound(by_parameter_.begin(), by_parameter_.end(), std::pair(id + 1, TensorId{0}));
  return {first, end};
}

bool RepairContext::same_values(TensorId a, TensorId b) {
  if (!our_data_) our_data_ = std::make_unique<TensorData>(*report.checkpoint);
  const auto different = count_different(*our_data_, binding().tensor(a), *our_data_, binding().tensor(b));
  return different && *different == 0;
}

bool RepairContext::same_bytes_as_reference(TensorId ours, TensorId theirs) {
  const TensorInfo& a = binding().tensor(ours);
  const TensorInfo& b = reference->binding->tensor(theirs);
  if (a.dtype != b.dtype || !same_shape(a.shape, b.shape)) return false;
  if (!our_data_) our_data_ = std::make_unique<TensorData>(*report.checkpoint);
  if (!their_data_) their_data_ = std::make_unique<TensorData>(*reference->checkpoint);
  const auto different = count_different(*our_data_, a, *their_data_, b);
  return different && *different == 0;
}

bool RepairContext::restore(const Parameter& parameter, std::vector<std::string>& names, std::uint64_t& bytes) {
  if (reference == nullptr) return false;
  const BindingReport& theirs = *reference->binding;
  const auto q = theirs.manifest->find(parameter.block, parameter.slot, parameter.expert);
  if (!q || !theirs.bindings[*q].bound || theirs.bindings[*q].shared) return false;
  const Binding& source = theirs.bindings[*q];
  if (!same_shape((*theirs.manifest)[*q].shape.span(), parameter.shape.span())) return false;
  const auto p = binding().manifest->find(parameter.block, parameter.slot, parameter.expert);
  const Binding* mine = p ? &binding().bindings[*p] : nullptr;
  const bool stacked = source.part != ExpertPart::kNone;
  if (stacked != (p && spelling.is_stacked(*p))) return false;
  if (stacked) {
    const TensorInfo& stack = theirs.tensor(*source.tensor(Component::kWeight));
    const std::string name = spelling.expected_name(*p);
    if (!restored_stacks_.insert(name).second) return true;
    const auto ours = draft.find(name);
    if (ours) {
      draft.replace(*ours, *reference->checkpoint, stack);
    } else {
      draft.add(name, *reference->checkpoint, stack);
    }
    names.push_back(name);
    bytes += stack.bytes();
    return true;
  }
  std::vector<TensorId> own;
  if (p) {
    for (const auto& [id, t] : tensors_of(*p)) {
      if (!draft.dropped(t)) own.push_back(t);
    }
  }
  for (std::size_t c = 0; c < kComponentCount; ++c) {
    const auto component = static_cast<Component>(c);
    const auto s = source.tensor(component);
    if (!s) continue;
    const TensorInfo& with = theirs.tensor(*s);
    // Ours of the same component keeps its place, and its name.
    const auto ours =
        std::find_if(own.begin(), own.end(), [&](TensorId t) { return binding().names[t].component == component; });
    if (ours != own.end()) {
      const TensorId t = *ours;
      own.erase(ours);
      if (same_bytes_as_reference(t, *s)) continue;
      draft.replace(t, *reference->checkpoint, with);
      names.push_back(draft.name(t));
    } else {
      // With a suffix like its siblings', where it is a scale that has several spellings.
      const bool scale = component == Component::kScale || component == Component::kWeightScale ||
                         component == Component::kWeightScaleInv;
      const bool official = source.form == StorageForm::kFp8Block || source.form == StorageForm::kMxfp4;
      const bool same_form = mine != nullptr && mine->form == source.form;
      names.push_back(spelling.name(parameter, scale && official && same_form ? spelling.usual_scale(*p) : component));
      draft.add(names.back(), *reference->checkpoint, with);
    }
    bytes += with.bytes();
  }
  for (const TensorId t : own) draft.drop(t);
  return true;
}

}  // namespace outrider
