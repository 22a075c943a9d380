#include <fmt/format.h>

#include "outrider/artifact/repair/repair_context.h"
#include "outrider/check/context.h"

namespace outrider {
namespace {

// Restores the MTP blocks' parameters as the reference stores them, if they were left out, quantised, or cast. False if
// there was nothing to restore.
bool restore_blocks(RepairContext& context) {
  if (context.reference == nullptr) return false;
  const Manifest& theirs = *context.reference->binding->manifest;
  // A different kind of drafter, or one under unknown names, must not be replaced by this one.
  if (theirs.drafter() != DrafterKind::kMtp || context.report.config->config.dspark) return false;
  if (context.found(Code::kMtpDropped)) {
    if (const auto t = context.unknown_drafter_tensor()) {
      context.withhold(Code::kMtpDropped,
                       fmt::format("{} may belong to the MTP block under an unknown name; rename it", *t));
      return false;
    }
  }
  std::optional<Code> why;
  for (const Code code : {Code::kMtpDropped, Code::kMtpQuantised, Code::kMtpNotAsReleased}) {
    if (!why && context.found(code)) why = code;
  }
  if (!why) return false;
  const BindingReport& ours = context.binding();
  std::vector<std::string> names;
  std::uint64_t bytes = 0;
  const auto [first, end] = theirs.parameters_of(theirs.blocks() - theirs.drafter_blocks(), theirs.blocks());
  for (ParameterId q = first; q < end; ++q) {
    const Parameter& parameter = theirs[q];
    if (parameter.block.index >= context.report.config->config.num_nextn_predict_layers) continue;
    const auto p = ours.manifest->find(parameter.block, parameter.slot, parameter.expert);
    // An unquantised tensor has lost nothing relative to the reference's form.
    const Binding* mine = p ? &ours.bindings[*p] : nullptr;
    const bool sound =
        mine != nullptr && mine->bound && !mine->shared &&
        (mine->form == StorageForm::kPlain || mine->form == context.reference->binding->bindings[q].form);
    if (!sound) context.restore(*why, parameter, names, bytes);
  }
  if (names.empty()) return false;
  context.act(*why, fmt::format("take {} of the MTP block from the reference", count_text(names.size(), "tensor")),
              names, bytes);
  return true;
}

// The draft's tensor of a parameter's component, whatever its source.
std::optional<std::size_t> in_draft(const RepairContext& context, const Parameter& parameter, Component component) {
  if (const auto p = context.binding().manifest->find(parameter.block, parameter.slot)) {
    const Binding& b = context.binding().bindings[*p];
    if (const auto t = b.tensor(component); t && !b.shared && !context.draft.dropped(*t)) return *t;
  }
  return context.draft.find(context.spelling.name(parameter, component));
}

void widen_head(RepairContext& context) {
  const auto head = context.binding().manifest->find({BlockKind::kTop, 0}, Slot::kHead);
  const auto t = head ? in_draft(context, (*context.binding().manifest)[*head], Component::kWeight) : std::nullopt;
  if (!t || !is_half(context.draft[*t].dtype)) return;
  context.draft.widen(*t);
  const std::vector<std::string> names = {std::string(context.draft.name(*t))};
  context.act(Code::kMtpSharesHead, fmt::format("widen {} to F32", names[0]), names, context.draft[*t].bytes());
}

void add_copies(RepairContext& context, const Manifest& manifest) {
  if (manifest.drafter() != DrafterKind::kMtp || !context.wants(Code::kMtpSharesHead)) return;
  std::vector<std::string> names;
  std::vector<std::string> taken;
  std::string example;
  std::uint64_t bytes = 0;
  std::uint64_t bytes_taken = 0;
  const auto [first, end] = manifest.parameters_of(manifest.blocks() - manifest.drafter_blocks(), manifest.blocks());
  for (ParameterId p = first; p < end; ++p) {
    const Parameter& parameter = manifest[p];
    if (!parameter.falls_back_to || in_draft(context, parameter, Component::kWeight) ||
        in_draft(context, parameter, Component::kWeightPacked))
      continue;
    if (const std::vector<TensorId> unknown = context.candidates_for(parameter); !unknown.empty()) {
      context.withhold(Code::kMtpSharesHead, fmt::format("{} may be {} under an unknown name; rename it",
                                                         context.binding().stored_name(unknown[0]), parameter.name()));
      continue;
    }
    // A separately trained head must not be replaced by the model's.
    if (context.restore(Code::kMtpSharesHead, parameter, taken, bytes_taken)) continue;
    for (std::size_t c = 0; c < kComponentCount; ++c) {
      const auto component = static_cast<Component>(c);
      const auto source = in_draft(context, manifest[*parameter.falls_back_to], component);
      const bool stored = source && *source < context.binding().names.size();
      if (!source || (stored && !context.binding().bindings[*parameter.falls_back_to].bound)) continue;
      const std::size_t copy = context.draft.add_copy(context.spelling.name(parameter, component), *source);
      if (parameter.slot == Slot::kHead && context.options.alias_in_float32 && is_half(context.draft[copy].dtype)) {
        context.draft.widen(copy);
      }
      const DraftTensor made = context.draft[copy];
      example += fmt::format("{}{} ({}, from {})", example.empty() ? "" : ", ", context.draft.name(copy),
                             dtype_name(made.dtype), context.draft.name(*source));
      names.emplace_back(context.draft.name(copy));
      bytes += made.bytes();
    }
  }
  if (!names.empty()) context.act(Code::kMtpSharesHead, "add " + example, names, bytes);
  if (!taken.empty()) {
    context.act(Code::kMtpSharesHead,
                fmt::format("take {} of the MTP block's own from the reference", count_text(taken.size(), "tensor")),
                taken, bytes_taken);
  }
}

}  // namespace

void repair_drafter(RepairContext& context) {
  const bool restored = restore_blocks(context);
  if (context.options.head_in_float32) widen_head(context);
  // If the whole block is missing, only the reference has it.
  const Manifest& ours = *context.binding().manifest;
  const bool left_out = restored && ours.drafter() == DrafterKind::kNone;
  add_copies(context, left_out ? *context.reference->binding->manifest : ours);
}

}  // namespace outrider
