#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <system_error>

#include "outrider/artifact/repair/repair_context.h"
#include "outrider/check/context.h"

namespace outrider {
namespace {

// Whether all tensors of an unlisted file are in the index's files too, with the same values.
bool only_repeats(RepairContext& context, std::uint32_t file) {
  const BindingReport& binding = context.binding();
  std::map<std::string, TensorId> in_index;
  for (TensorId t = 0; t < binding.uses.size(); ++t) {
    if (binding.tensor(t).file == file) in_index.emplace(binding.stored_name(t), t);
  }
  std::size_t repeated = 0;
  for (TensorId t = 0; t < binding.uses.size(); ++t) {
    if (!context.report.checkpoint->files()[binding.tensor(t).file].used) continue;
    const auto stray = in_index.find(binding.stored_name(t));
    if (stray == in_index.end()) continue;
    if (!context.same_values(stray->second, t)) return false;
    ++repeated;
  }
  return repeated >= in_index.size();
}

// Files that the index does not list: adopted if their tensors are missing. Dropped if they repeat existing tensors,
// otherwise only on request: they may be all that is left of something.
void settle_stray_files(RepairContext& context) {
  if (!context.found(Code::kStrayFile) && !context.found(Code::kTensorNotInIndex)) return;
  const BindingReport& binding = context.binding();
  const std::vector<ShardFile>& files = context.report.checkpoint->files();
  std::vector<std::uint8_t> lacking(files.size());
  std::vector<std::uint8_t> other(files.size());
  for (TensorId t = 0; t < binding.names.size(); ++t) {
    if (binding.uses[t] != TensorUse::kUnusedStrayFile) continue;
    const TensorName& name = binding.names[t];
    const auto p = binding.manifest->find(name.block, name.slot, name.expert);
    const bool needed =
        name.kind == TensorName::Kind::kParameter && p && (!binding.bindings[*p].bound || binding.bindings[*p].shared);
    (needed ? lacking : other)[binding.tensor(t).file] = 1;
  }
  for (std::uint32_t f = 0; f < files.size(); ++f) {
    if (files[f].used || !files[f].present) continue;
    const std::string holds = count_text(files[f].tensor_count, "tensor");
    if (lacking[f] != 0 && other[f] == 0) {
      context.draft.adopt_file(f);
      context.act(Code::kStrayFile, fmt::format("add {} to the index: its {} are missing", files[f].name, holds));
    } else if (context.asked(Code::kStrayFile) || only_repeats(context, f)) {
      context.draft.drop_file(f);
      context.act(Code::kStrayFile, fmt::format("leave out {}: none of it is used ({})", files[f].name, holds));
    } else {
      context.withhold(Code::kStrayFile,
                       fmt::format("{} has tensors that are nowhere else ({}); dropped only with --only OUT009",
                                   files[f].name, holds));
    }
  }
}

// The same name in two files, or two names of one parameter: the second is dropped if it repeats the first.
void drop_repetitions(RepairContext& context) {
  const BindingReport& binding = context.binding();
  std::map<Code, std::vector<std::string>> dropped;
  std::map<std::pair<std::uint64_t, std::string>, TensorId> first;
  const auto key_of = [&](TensorId t) {
    const TensorName& name = binding.names[t];
    const auto p = binding.manifest->find(name.block, name.slot, name.expert);
    return std::pair(p ? std::uint64_t{*p} : ~std::uint64_t{0},
                     p ? std::string(component_suffix(name.component)) : binding.stored_name(t));
  };
  for (TensorId t = 0; t < binding.uses.size(); ++t) {
    if (binding.uses[t] == TensorUse::kUnusedDuplicate) first.emplace(key_of(t), t);
  }
  for (TensorId t = 0; t < binding.uses.size() && !first.empty(); ++t) {
    if (binding.uses[t] != TensorUse::kUsed) continue;
    if (const auto it = first.find(key_of(t)); it != first.end()) it->second = t;
  }
  for (TensorId t = 0; t < binding.uses.size(); ++t) {
    if (binding.uses[t] != TensorUse::kUnusedDuplicate) continue;
    const TensorId kept = first.at(key_of(t));
    const Code code = binding.stored_name(kept) == binding.stored_name(t) ? Code::kDuplicateTensor : Code::kBoundTwice;
    if (kept == t || !context.wants(code) || !context.same_values(kept, t)) continue;
    context.draft.drop(t);
    dropped[code].push_back(binding.stored_name(t));
  }
  for (const auto& [code, names] : dropped) {
    context.act(code,
                fmt::format("drop {} that duplicate another with the same values", count_text(names.size(), "tensor")),
                names);
  }
}

}  // namespace

void repair_files(RepairContext& context) {
  settle_stray_files(context);
  drop_repetitions(context);
  for (const Code code : {Code::kIndexNamesAbsentTensor, Code::kTensorInOtherShard, Code::kTensorNotInIndex,
                          Code::kIndexTotalSize, Code::kIndexMissing}) {
    if (context.found(code)) context.act(code, "rebuild the index from the headers of the files");
  }
  // The missing files are only named differently: no tensor is missing.
  if (context.found(Code::kShardMissing) && context.report.plan != nullptr) {
    context.act(Code::kShardMissing, "rebuild the index from the headers of the existing files");
  }
  if (context.found(Code::kUnalignedData) && context.options.only.contains(Code::kUnalignedData)) {
    const std::vector<ShardFile>& files = context.report.checkpoint->files();
    for (std::uint32_t f = 0; f < files.size(); ++f) {
      if (!files[f].present || files[f].data_aligned || files[f].fault) continue;
      context.draft.rewrite_file(f);
      context.act(Code::kUnalignedData, fmt::format("rewrite {} with an aligned header", files[f].name), {},
                  files[f].file_bytes);
    }
  }
}

void repair_names(RepairContext& context) {
  const BindingReport& binding = context.binding();
  std::vector<std::string> renamed;
  std::string example;
  const auto rename = [&](TensorId t, const std::string& name) {
    if (context.draft.name(t) == name || context.draft.find(name)) return;
    if (renamed.empty()) example = fmt::format("{} becomes {}", context.draft.name(t), name);
    renamed.emplace_back(context.draft.name(t));
    context.draft.rename(t, name);
  };
  if (context.found(Code::kTransformersRename)) {
    for (TensorId t = 0; t < binding.names.size(); ++t) {
      const TensorName& name = binding.names[t];
      const auto p = binding.manifest->find(name.block, name.slot, name.expert);
      if (!name.dialect.renamed || !p || context.draft.dropped(t)) continue;
      rename(t, context.spelling.name((*binding.manifest)[*p], name.component));
    }
    if (!renamed.empty()) {
      context.act(Code::kTransformersRename,
                  fmt::format("rename {} to the releases' spelling: {}", count_text(renamed.size(), "tensor"), example),
                  renamed);
    }
  }
  if (context.found(Code::kMixedNaming)) {
    renamed.clear();
    for (TensorId t = 0; t < binding.names.size(); ++t) {
      const TensorName& name = binding.names[t];
      if (name.kind != TensorName::Kind::kParameter || name.part != ExpertPart::kNone || context.draft.dropped(t))
        continue;
      if (!context.spelling.votes()[is_drafter(name.block)].is_odd(name)) continue;
      const auto p = binding.manifest->find(name.block, name.slot, name.expert);
      if (p) rename(t, context.spelling.name((*binding.manifest)[*p], name.component));
    }
    if (!renamed.empty()) {
      context.act(
          Code::kMixedNaming,
          fmt::format("rename {} to their siblings' spelling: {}", count_text(renamed.size(), "tensor"), example),
          renamed);
    }
  }
  if (context.found(Code::kInconsistentStorage)) {
    renamed.clear();
    for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
      const Binding& b = binding.bindings[p];
      if (!b.bound || b.shared || !storage_form(b.form).scale_has_spellings()) continue;
      const Component usual = context.spelling.usual_scale(p);
      for (const Component c : kScaleSpellings) {
        const auto t = b.tensor(c);
        if (!t || c == usual) continue;
        const std::string name(context.draft.name(*t));
        rename(*t, fmt::format("{}.{}", name.substr(0, name.rfind('.')), component_suffix(usual)));
      }
    }
    if (!renamed.empty()) {
      context.act(
          Code::kInconsistentStorage,
          fmt::format("rename {} like those of their siblings: {}", count_text(renamed.size(), "scale"), example),
          renamed);
    }
  }
  if (context.found(Code::kScaleSpelling)) {
    std::vector<std::string> retyped;
    for (TensorId t = 0; t < binding.names.size(); ++t) {
      const bool scale = is_scale_spelling(binding.names[t].component);
      if (binding.uses[t] != TensorUse::kUsed || !scale || binding.tensor(t).dtype != Dtype::kU8) continue;
      context.draft.reinterpret(t, Dtype::kF8E8M0);
      retyped.emplace_back(context.draft.name(t));
    }
    if (!retyped.empty()) {
      context.act(Code::kScaleSpelling,
                  fmt::format("declare {} as F8_E8M0, which their bytes are", count_text(retyped.size(), "U8 scale")),
                  retyped);
    }
  }
}

namespace {

// The place of a row that was saved as a tensor: "…shared_experts.96.w2.weight" is row 96 of w2.
struct ExplodedRow {
  Slot slot;
  std::size_t row;
};
std::optional<ExplodedRow> exploded_row(const std::string& name) {
  for (const auto& [leaf, slot] : {std::pair{".w1.", Slot::kSharedW1},
                                   {".gate_proj.", Slot::kSharedW1},
                                   {".w2.", Slot::kSharedW2},
                                   {".down_proj.", Slot::kSharedW2},
                                   {".w3.", Slot::kSharedW3},
                                   {".up_proj.", Slot::kSharedW3}}) {
    const std::size_t at = name.rfind(leaf);
    if (at == std::string::npos || at == 0) continue;
    const std::size_t number = name.rfind('.', at - 1) + 1;
    std::size_t row = 0;
    const auto [end, error] = std::from_chars(name.data() + number, name.data() + at, row);
    if (error == std::errc{} && end == name.data() + at) return ExplodedRow{slot, row};
  }
  return std::nullopt;
}

// Joins tensors from all of their rows.
void join_rows(RepairContext& context) {
  if (!context.found(Code::kExplodedTensor)) return;
  const BindingReport& binding = context.binding();
  std::map<ParameterId, std::map<std::size_t, TensorId>> rows_of;
  for (TensorId t = 0; t < binding.uses.size(); ++t) {
    if (binding.uses[t] != TensorUse::kUnusedExploded) continue;
    const auto row = exploded_row(binding.stored_name(t));
    const auto p = row ? binding.manifest->find(binding.names[t].block, row->slot) : std::nullopt;
    if (p && !binding.bindings[*p].bound) rows_of[*p].emplace(row->row, t);
  }
  std::vector<std::string> joined;
  std::uint64_t bytes = 0;
  for (const auto& [p, rows] : rows_of) {
    const Parameter& parameter = (*binding.manifest)[p];
    std::vector<TensorId> tensors;
    for (const auto& [row, t] : rows) tensors.push_back(t);
    const Dtype dtype = binding.tensor(tensors[0]).dtype;
    const std::uint64_t row_bytes = parameter.shape.dims[1] * dtype_bits(dtype) / 8;
    const bool whole = is_plain_float(dtype) && rows.size() == parameter.shape.dims[0] &&
                       rows.rbegin()->first + 1 == rows.size() && std::ranges::all_of(tensors, [&](TensorId t) {
                         return binding.tensor(t).dtype == dtype && binding.tensor(t).bytes() == row_bytes;
                       });
    if (!whole) {
      context.withhold(Code::kExplodedTensor,
                       fmt::format("the rows of {} are incomplete: {} of {}, or of different sizes", parameter.name(),
                                   count_text(rows.size(), "row"), parameter.shape.dims[0]));
      continue;
    }
    joined.push_back(context.spelling.name(parameter, Component::kWeight));
    bytes += context.draft[context.draft.add_rows(joined.back(), tensors)].bytes();
    for (const TensorId t : tensors) context.draft.drop(t);
    context.found_again.insert(p);
  }
  if (!joined.empty()) {
    context.act(Code::kExplodedTensor, fmt::format("join {} from their rows", count_text(joined.size(), "tensor")),
                joined, bytes);
  }
}

// Whether the reference has the tensor's block, but no such tensor in it.
bool is_unknown_to_reference(const RepairContext& context, TensorId t) {
  if (context.reference == nullptr) return false;
  const TensorName& name = context.binding().names[t];
  const Manifest& theirs = *context.reference->binding->manifest;
  return theirs.has_block(name.block) && !theirs.find(name.block, name.slot, name.expert);
}

// Whether to drop an unwanted tensor: if the artifact is certainly better without it, or if it was selected by code.
bool is_dropped(RepairContext& context, TensorId t, Code code) {
  if (!context.wants(code) || context.draft.dropped(t)) return false;
  if (context.asked(code)) return true;
  if (code == Code::kMtpWrongLayerType) return is_unknown_to_reference(context, t);
  // A scale whose weight equals the reference's, which has none, is a leftover; another may be needed.
  const TensorName& name = context.binding().names[t];
  const auto p = context.binding().manifest->find(name.block, name.slot, name.expert);
  return code == Code::kStrayCompanion && p && context.same_as_reference((*context.binding().manifest)[*p]);
}

std::optional<Code> code_of_unused(const BindingReport& binding, TensorId t) {
  switch (binding.uses[t]) {
    case TensorUse::kUnusedStray:
      return Code::kStrayCompanion;
    case TensorUse::kUnusedUnknown:
    case TensorUse::kUnusedOrphan:
      return Code::kUnknownTensor;
    case TensorUse::kUnusedOutside:
      return is_of_another_layer_type(binding.names[t]) ? Code::kMtpWrongLayerType : Code::kOutsideModel;
    case TensorUse::kUnusedExploded:
      return Code::kExplodedTensor;
    default:
      return std::nullopt;
  }
}

}  // namespace

void repair_unwanted(RepairContext& context) {
  join_rows(context);
  const BindingReport& binding = context.binding();
  std::map<Code, std::vector<std::string>> dropped;
  for (TensorId t = 0; t < binding.uses.size(); ++t) {
    const std::optional<Code> code = code_of_unused(binding, t);
    if (!code || !is_dropped(context, t, *code)) continue;
    context.draft.drop(t);
    dropped[*code].push_back(binding.stored_name(t));
  }
  for (const auto& [code, names] : dropped) {
    context.act(code, fmt::format("drop {}", count_text(names.size(), "tensor")), names);
  }
}

namespace {

// Whether a tensor with an unknown name is a missing parameter of the reference: then it is renamed. Another candidate
// prevents the use of the reference's values.
bool stands_under_another_name(RepairContext& context, Code code, const Parameter& parameter) {
  const std::vector<TensorId> candidates = context.candidates_for(parameter);
  if (candidates.empty()) return false;
  const BindingReport& theirs = *context.reference->binding;
  const auto q = theirs.manifest->find(parameter.block, parameter.slot, parameter.expert);
  const auto source = q && theirs.bindings[*q].bound && theirs.bindings[*q].form == StorageForm::kPlain
                          ? theirs.bindings[*q].tensor(Component::kWeight)
                          : std::nullopt;
  for (const TensorId t : candidates) {
    if (!source || !context.reference_values().same_bytes(t, *source)) continue;
    const std::string old(context.draft.name(t));
    context.draft.rename(t, context.spelling.name(parameter, Component::kWeight));
    context.act(code, fmt::format("rename {} to {}: it has the reference's values", old, context.draft.name(t)),
                std::vector{old});
    return true;
  }
  context.withhold(
      code, fmt::format("{} is missing, but {} may be it under another name, trained since; rename it, or "
                        "take the reference's with --only {}",
                        parameter.name(), context.binding().stored_name(candidates[0]), finding_kind(code).code));
  return !context.asked(code);
}

}  // namespace

void repair_missing(RepairContext& context) {
  if (context.reference == nullptr) return;
  const BindingReport& binding = context.binding();
  struct Restored {
    std::vector<std::string> names;
    std::uint64_t bytes = 0;
  };
  std::map<Code, Restored> restored;
  bool all = true;
  for (const BindingFault& fault : binding.faults) {
    const Parameter& parameter = (*binding.manifest)[fault.parameter];
    const Code code = code_of(fault, parameter);
    if (context.found_again.contains(fault.parameter)) continue;
    if (code == Code::kStrayCompanion && binding.bindings[fault.parameter].tensor(Component::kWeight)) continue;
    // Parts of an expert are distinguished only in reports.
    const bool wanted = context.wants(code) ||
                        (code == Code::kParameterMissing && context.options.only.contains(Code::kFusedPartMissing));
    if (wanted && fault.kind == BindingFault::Kind::kMissing && stands_under_another_name(context, code, parameter))
      continue;
    Restored& to = restored[code];
    all = wanted && context.restore(code, parameter, to.names, to.bytes) && all;
  }
  for (const auto& [code, r] : restored) {
    if (r.names.empty()) continue;
    context.act(code, fmt::format("take {} from the reference", count_text(r.names.size(), "tensor")), r.names,
                r.bytes);
  }
  if (all && !restored.empty() && context.found(Code::kShardMissing)) {
    context.act(Code::kShardMissing, "leave out the missing files; their tensors are taken from the reference");
  }
  // Once everything is restored, damaged files are rewritten from their intact tensors.
  const std::vector<ShardFile>& files = context.report.checkpoint->files();
  for (std::uint32_t f = 0; f < files.size() && all; ++f) {
    if (!files[f].present || !files[f].fault) continue;
    const Code code =
        *files[f].fault == HeaderFault::kTruncated || *files[f].fault == HeaderFault::kTrailing ? Code::kShardTruncated
        : *files[f].fault == HeaderFault::kLfsPointer || *files[f].fault == HeaderFault::kHtml  ? Code::kNotAShard
                                                                                               : Code::kShardUnreadable;
    if (!context.wants(code)) continue;
    context.draft.rewrite_file(f);
    context.act(code, files[f].tensor_count == 0
                          ? fmt::format("leave out {}; its tensors are taken from the reference", files[f].name)
                          : fmt::format("rewrite {} from its intact tensors", files[f].name));
  }
}

void repair_precision(RepairContext& context) {
  const BindingReport& binding = context.binding();
  std::vector<std::string> restored;
  std::vector<std::string> widened;
  std::uint64_t restored_bytes = 0;
  std::uint64_t widened_bytes = 0;
  for (ParameterId p = 0; context.found(Code::kFp32Downcast) && p < binding.bindings.size(); ++p) {
    const Binding& b = binding.bindings[p];
    const Parameter& parameter = (*binding.manifest)[p];
    if (!b.bound || b.shared || parameter.spec().storage != Storage::kFloat32) continue;
    const TensorId t = *b.tensor(Component::kWeight);
    if (context.draft.dropped(t) || !is_half(context.draft[t].dtype)) continue;
    if (context.reference != nullptr) {
      const auto q = context.reference->binding->manifest->find(parameter.block, parameter.slot, parameter.expert);
      const Binding* source = q ? &context.reference->binding->bindings[*q] : nullptr;
      const auto s = source != nullptr && source->bound ? source->tensor(Component::kWeight) : std::nullopt;
      if (s && context.reference->binding->tensor(*s).dtype == Dtype::kF32 &&
          context.restore(Code::kFp32Downcast, parameter, restored, restored_bytes)) {
        continue;
      }
    }
    context.draft.widen(t);
    widened.emplace_back(context.draft.name(t));
    widened_bytes += context.draft[t].bytes();
  }
  if (!restored.empty()) {
    context.act(Code::kFp32Downcast,
                fmt::format("take {} in F32 from the reference, byte for byte", count_text(restored.size(), "tensor")),
                restored, restored_bytes);
  }
  if (!widened.empty()) {
    context.act(
        Code::kFp32Downcast,
        fmt::format("widen {} to F32{}", count_text(widened.size(), "tensor"),
                    context.reference == nullptr ? "; only --reference, the source checkpoint, restores the lost bits"
                                                 : "; the reference has different values, or none in F32"),
        widened, widened_bytes);
  }
  if (!context.found(Code::kReferenceDtype) || context.reference == nullptr) return;
  restored.clear();
  restored_bytes = 0;
  const BindingReport& theirs = *context.reference->binding;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Binding& b = binding.bindings[p];
    const Parameter& parameter = (*binding.manifest)[p];
    if (!b.bound || b.shared || b.form != StorageForm::kPlain || b.part != ExpertPart::kNone) continue;
    const auto q = theirs.manifest->find(parameter.block, parameter.slot, parameter.expert);
    if (!q || !theirs.bindings[*q].bound || theirs.bindings[*q].form != StorageForm::kPlain) continue;
    const DraftTensor mine = context.draft[*b.tensor(Component::kWeight)];
    if (is_half(mine.dtype) && theirs.tensor(*theirs.bindings[*q].tensor(Component::kWeight)).dtype == Dtype::kF32)
      context.restore(Code::kReferenceDtype, parameter, restored, restored_bytes);
  }
  if (restored.empty()) return;
  context.act(Code::kReferenceDtype,
              fmt::format("take {} in F32 from the reference, byte for byte", count_text(restored.size(), "tensor")),
              restored, restored_bytes);
}

}  // namespace outrider
