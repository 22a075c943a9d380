#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "outrider/artifact/repair_context.h"
#include "outrider/check/context.h"

namespace outrider {
namespace {

bool is_half(Dtype dtype) {
  return dtype == Dtype::kBF16 || dtype == Dtype::kF16;
}

// Files that the index does not name: taken in where their tensors are lacking, dropped where they are not.
void settle_stray_files(RepairContext& context) {
  if (!context.found(Code::kStrayFile)) return;
  const BindingReport& binding = context.binding();
  const std::vector<ShardFile>& files = context.report.checkpoint->files();
  std::vector<std::string> adopted(files.size());
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
    if (files[f].in_index || !files[f].present) continue;
    if (lacking[f] != 0 && other[f] == 0) {
      context.draft.adopt_file(f);
      context.act(Code::kStrayFile, fmt::format("take {} into the index: its {} are lacking", files[f].name,
                                                count_text(files[f].tensor_count, "tensor")));
    } else {
      context.draft.drop_file(f);
      context.act(Code::kStrayFile, fmt::format("leave {} out: nothing of it is used ({})", files[f].name,
                                                count_text(files[f].tensor_count, "tensor")));
    }
  }
}

// The same name in two files, or two names for one parameter: the second goes where it repeats the first.
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
    context.act(code, fmt::format("drop {} that repeat another, value for value", count_text(names.size(), "tensor")),
                names);
  }
}

}  // namespace

void repair_files(RepairContext& context) {
  settle_stray_files(context);
  drop_repetitions(context);
  bool index = false;
  for (const Code code :
       {Code::kIndexNamesAbsentTensor, Code::kTensorInOtherShard, Code::kTensorNotInIndex, Code::kIndexTotalSize}) {
    if (index || !context.found(code)) continue;
    context.act(code, "rebuild the index from the headers of the files");
    index = true;
  }
  if (context.found(Code::kUnalignedData) && context.options.only.contains(Code::kUnalignedData)) {
    const std::vector<ShardFile>& files = context.report.checkpoint->files();
    for (std::uint32_t f = 0; f < files.size(); ++f) {
      if (!files[f].present || files[f].data_aligned || files[f].fault) continue;
      context.draft.rewrite_file(f);
      context.act(Code::kUnalignedData, fmt::format("write {} again with an aligned header", files[f].name), {},
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
    renamed.push_back(context.draft.name(t));
    context.draft.rename(t, name);
  };
  if (context.found(Code::kMixedNaming)) {
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
          fmt::format("rename {} as their siblings are spelt: {}", count_text(renamed.size(), "tensor"), example),
          renamed);
    }
  }
  if (context.found(Code::kInconsistentStorage)) {
    renamed.clear();
    for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
      const Binding& b = binding.bindings[p];
      if (!b.bound || b.shared || (b.form != StorageForm::kFp8Block && b.form != StorageForm::kMxfp4)) continue;
      const Component usual = context.spelling.usual_scale(p);
      for (const Component c : {Component::kScale, Component::kWeightScale, Component::kWeightScaleInv}) {
        const auto t = b.tensor(c);
        if (!t || c == usual) continue;
        const std::string name = context.draft.name(*t);
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
      const Component c = binding.names[t].component;
      const bool scale = c == Component::kScale || c == Component::kWeightScale || c == Component::kWeightScaleInv;
      if (binding.uses[t] != TensorUse::kUsed || !scale || binding.tensor(t).dtype != Dtype::kU8) continue;
      context.draft.reinterpret(t, Dtype::kF8E8M0);
      retyped.push_back(context.draft.name(t));
    }
    if (!retyped.empty()) {
      context.act(
          Code::kScaleSpelling,
          fmt::format("say of {} that they are F8_E8M0, which their bytes are", count_text(retyped.size(), "U8 scale")),
          retyped);
    }
  }
}

void repair_unwanted(RepairContext& context) {
  const BindingReport& binding = context.binding();
  std::map<Code, std::vector<std::string>> dropped;
  for (TensorId t = 0; t < binding.uses.size(); ++t) {
    std::optional<Code> code;
    switch (binding.uses[t]) {
      case TensorUse::kUnusedStray:
        code = Code::kStrayCompanion;
        break;
      case TensorUse::kUnusedUnknown:
      case TensorUse::kUnusedOrphan:
        code = Code::kUnknownTensor;
        break;
      case TensorUse::kUnusedOutside:
        code = is_of_another_layer_type(binding.names[t]) ? Code::kMtpWrongLayerType : Code::kOutsideModel;
        break;
      case TensorUse::kUnusedExploded:
        if (context.reference != nullptr) code = Code::kExplodedTensor;
        break;
      default:
        break;
    }
    if (!code || !context.wants(*code) || context.draft.dropped(t)) continue;
    // What is lacking may stand under a misspelt name; it must not be thrown away unasked.
    const bool asked = context.options.only.contains(*code);
    if (*code == Code::kUnknownTensor && !asked && context.report.has(Code::kParameterMissing)) continue;
    context.draft.drop(t);
    dropped[*code].push_back(binding.stored_name(t));
  }
  for (const auto& [code, names] : dropped) {
    context.act(code, fmt::format("drop {}", count_text(names.size(), "tensor")), names);
  }
}

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
    if (code == Code::kStrayCompanion && binding.bindings[fault.parameter].tensor(Component::kWeight)) continue;
    // Parts of an expert are told apart in reports only.
    const bool wanted = context.wants(code) ||
                        (code == Code::kParameterMissing && context.options.only.contains(Code::kFusedPartMissing));
    Restored& to = restored[code];
    all = wanted && context.restore(parameter, to.names, to.bytes) && all;
  }
  for (const auto& [code, r] : restored) {
    if (r.names.empty()) continue;
    context.act(code, fmt::format("take {} from the reference", count_text(r.names.size(), "tensor")), r.names,
                r.bytes);
  }
  // With all of it restored, damaged files are made new of what is whole in them.
  const std::vector<ShardFile>& files = context.report.checkpoint->files();
  for (std::uint32_t f = 0; f < files.size() && all; ++f) {
    if (!files[f].present || !files[f].fault) continue;
    const Code code =
        *files[f].fault == HeaderFault::kTruncated || *files[f].fault == HeaderFault::kTrailing ? Code::kShardTruncated
        : *files[f].fault == HeaderFault::kLfsPointer || *files[f].fault == HeaderFault::kHtml  ? Code::kNotAShard
                                                                                               : Code::kShardUnreadable;
    if (!context.wants(code)) continue;
    context.draft.rewrite_file(f);
    context.act(code,
                files[f].tensor_count == 0
                    ? fmt::format("leave {} out; all that it should hold is taken from the reference", files[f].name)
                    : fmt::format("write {} again from its whole tensors", files[f].name));
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
          context.restore(parameter, restored, restored_bytes)) {
        continue;
      }
    }
    context.draft.widen(t);
    widened.push_back(context.draft.name(t));
    widened_bytes += context.draft[t].bytes();
  }
  if (!restored.empty()) {
    context.act(Code::kFp32Downcast,
                fmt::format("take {} in F32 from the reference, byte for byte", count_text(restored.size(), "tensor")),
                restored, restored_bytes);
  }
  if (!widened.empty()) {
    context.act(Code::kFp32Downcast,
                fmt::format("widen {} to F32{}", count_text(widened.size(), "tensor"),
                            context.reference == nullptr
                                ? "; the lost bits come back with --reference only, from the source checkpoint"
                                : "; the reference does not have them in F32"),
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
      context.restore(parameter, restored, restored_bytes);
  }
  if (restored.empty()) return;
  context.act(Code::kReferenceDtype,
              fmt::format("take {} in F32 from the reference, byte for byte", count_text(restored.size(), "tensor")),
              restored, restored_bytes);
}

}  // namespace outrider
