#include "outrider/artifact/repair/repair_context.h"

#include <fmt/format.h>

#include <algorithm>

#include "outrider/check/context.h"

namespace outrider {

RepairContext::RepairContext(const CheckReport& of, const CheckReport* source, const RepairOptions& with,
                             RepairPlan& into)
    : report(of), reference(source), options(with), plan(into), draft(of.checkpoint), spelling(*of.binding) {
  for (TensorId t = 0; t < binding().uses.size(); ++t) {
    if (binding().uses[t] == TensorUse::kUnusedUnknown) unknown_.push_back(t);
  }
}

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

const ReferenceValues& RepairContext::reference_values() {
  if (!reference_values_) reference_values_ = std::make_unique<ReferenceValues>(report, *reference);
  return *reference_values_;
}

bool RepairContext::same_as_reference(const Parameter& parameter) {
  if (reference == nullptr) return false;
  const auto q = reference->binding->manifest->find(parameter.block, parameter.slot, parameter.expert);
  const auto p = binding().manifest->find(parameter.block, parameter.slot, parameter.expert);
  if (!q || !p) return false;
  std::vector<TensorId> own;
  for (const auto& [id, t] : tensors_of(*p)) own.push_back(t);
  return !reference_values().objection(p, own, *q);
}

std::vector<TensorId> RepairContext::candidates_for(const Parameter& parameter) const {
  std::vector<TensorId> out;
  const std::string block = block_name(parameter.block) + ".";
  for (const TensorId t : unknown_) {
    if (draft.dropped(t)) continue;
    const std::string name = binding().stored_name(t);
    const std::string_view bare = without_prefixes(name);
    const bool in_a_block = bare.starts_with("layers.") || bare.starts_with("mtp.");
    if (in_a_block && (parameter.block.kind == BlockKind::kTop || !bare.starts_with(block))) continue;
    const TensorInfo& tensor = binding().tensor(t);
    const std::uint64_t elements = tensor.bytes() * 8 / dtype_bits(tensor.dtype);
    // Four-bit codes are stored two per byte, or eight per I32.
    const unsigned codes = tensor.dtype == Dtype::kU8 || tensor.dtype == Dtype::kI8 ? 2
                           : tensor.dtype == Dtype::kI32                            ? 8
                                                                                    : 1;
    const std::uint64_t wanted = parameter.shape.elements();
    if (elements == wanted || elements * codes == wanted) out.push_back(t);
  }
  return out;
}

std::optional<std::string> RepairContext::unknown_drafter_tensor() const {
  for (const TensorId t : unknown_) {
    std::string name = binding().stored_name(t);
    for (const std::string_view part : {"mtp", "nextn", "draft"}) {
      if (name.find(part) != std::string::npos) return name;
    }
  }
  return std::nullopt;
}

bool RepairContext::is_same_expert(const Parameter& parameter) {
  const Manifest& theirs = *reference->binding->manifest;
  if (parameter.expert < 0 || !binding().manifest->has_block(parameter.block) ||
      binding().manifest->experts(parameter.block) == theirs.experts(parameter.block))
    return true;
  for (const Slot slot : {Slot::kExpertW1, Slot::kExpertW2, Slot::kExpertW3}) {
    const auto p = binding().manifest->find(parameter.block, slot, parameter.expert);
    const auto q = theirs.find(parameter.block, slot, parameter.expert);
    if (!p || !q || !binding().bindings[*p].bound) continue;
    const auto ours = binding().bindings[*p].tensor(Component::kWeight);
    const auto source = reference->binding->bindings[*q].tensor(Component::kWeight);
    if (ours && source && reference_values().same_bytes(*ours, *source)) return true;
  }
  return false;
}

bool RepairContext::restore(Code code, const Parameter& parameter, std::vector<std::string>& names,
                            std::uint64_t& bytes) {
  if (reference == nullptr) return false;
  const BindingReport& theirs = *reference->binding;
  const auto q = theirs.manifest->find(parameter.block, parameter.slot, parameter.expert);
  if (!q || !theirs.bindings[*q].bound || theirs.bindings[*q].shared) return false;
  const Binding& source = theirs.bindings[*q];
  if (!same_shape((*theirs.manifest)[*q].shape.span(), parameter.shape.span())) return false;
  const auto p = binding().manifest->find(parameter.block, parameter.slot, parameter.expert);
  const Binding* mine = p ? &binding().bindings[*p] : nullptr;
  if (!is_same_expert(parameter)) {
    withhold(code,
             fmt::format("the artifact has {} experts but the reference has {}, so its expert {} may be a different "
                         "one of the reference's",
                         binding().manifest->experts(parameter.block), theirs.manifest->experts(parameter.block),
                         parameter.expert));
    return false;
  }
  const bool stacked = source.part != ExpertPart::kNone;
  if (stacked != (p && spelling.is_stacked(*p))) return false;
  if (stacked) return restore_stack(code, *p, source, names, bytes);
  std::vector<TensorId> own;
  if (p) {
    for (const auto& [id, t] : tensors_of(*p)) {
      if (!draft.dropped(t)) own.push_back(t);
    }
  }
  if (!options.only.contains(code)) {
    if (const auto objection = reference_values().objection(p, own, *q)) {
      withhold(code, *objection);
      return false;
    }
  }
  for (std::size_t c = 0; c < kComponentCount; ++c) {
    const auto component = static_cast<Component>(c);
    const auto s = source.tensor(component);
    if (!s) continue;
    const TensorInfo& with = theirs.tensor(*s);
    // Our tensor of the same component keeps its place and its name.
    const auto ours =
        std::find_if(own.begin(), own.end(), [&](TensorId t) { return binding().names[t].component == component; });
    if (ours != own.end()) {
      const TensorId t = *ours;
      own.erase(ours);
      if (reference_values().same_bytes(t, *s)) continue;
      draft.replace(t, *reference->checkpoint, with);
      names.emplace_back(draft.name(t));
    } else {
      // A scale with several spellings gets the suffix of its siblings.
      const bool spelt = is_scale_spelling(component) && storage_form(source.form).scale_has_spellings();
      const bool same_form = mine != nullptr && mine->form == source.form;
      names.push_back(spelling.name(parameter, spelt && same_form ? spelling.usual_scale(*p) : component));
      draft.add(names.back(), *reference->checkpoint, with);
    }
    bytes += with.bytes();
  }
  for (const TensorId t : own) draft.drop(t);
  return true;
}

bool RepairContext::restore_stack(Code code, ParameterId ours, const Binding& source, std::vector<std::string>& names,
                                  std::uint64_t& bytes) {
  const TensorId s = *source.tensor(Component::kWeight);
  const TensorInfo& stack = reference->binding->tensor(s);
  const std::string name = spelling.expected_name(ours);
  if (restored_stacks_.contains(name)) return true;
  const auto t = draft.find(name);
  if (t && *t < binding().names.size() && !options.only.contains(code) &&
      !reference_values().same_bytes(static_cast<TensorId>(*t), s)) {
    withhold(code, fmt::format("{} differs from the reference's stack of experts", name));
    return false;
  }
  restored_stacks_.insert(name);
  if (t) {
    draft.replace(*t, *reference->checkpoint, stack);
  } else {
    draft.add(name, *reference->checkpoint, stack);
  }
  names.push_back(name);
  bytes += stack.bytes();
  return true;
}

}  // namespace outrider
