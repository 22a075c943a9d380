#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "outrider/check/context.h"
#include "outrider/check/spelling.h"

namespace outrider {

std::string stored_form(const BindingReport& binding, ParameterId id) {
  const Binding& b = binding.bindings[id];
  const auto dtype = [&](Component c) {
    const auto t = b.tensor(c);
    return t ? dtype_name(binding.tensor(*t).dtype) : std::string_view("?");
  };
  const StorageFormSpec& spec = storage_form(b.form);
  if (binding.names_only) return std::string(spec.quantised() ? spec.name : "unknown") + "?";
  if (!spec.quantised()) return std::string(dtype(Component::kWeight));
  if (spec.grid == ScaleGrid::kAnyGroups) return fmt::format("{} (group {})", spec.name, b.group_size);
  if (!spec.scale_has_spellings()) return std::string(spec.name);
  const auto scale = std::ranges::find_if(kScaleSpellings, [&](Component c) { return b.tensor(c).has_value(); });
  return fmt::format("{} ({} scale)", spec.name, scale != kScaleSpellings.end() ? dtype(*scale) : "?");
}

bool is_drafter(Block block) {
  return block.kind == BlockKind::kMtp || block.kind == BlockKind::kDspark;
}

namespace {

// Parameters of one module group that are stored in exactly the same way.
struct StorageClass {
  std::uint64_t signature = 0;
  std::vector<ParameterId> members;
};
// By drafter or not, and module group.
using StorageClasses = std::array<std::array<std::vector<StorageClass>, kModuleGroupCount>, 2>;

// A scalar may be stored as [] or [1]; siblings should agree.
bool is_single_number(std::size_t component) {
  const auto c = static_cast<Component>(component);
  return c == Component::kWeightGlobalScale || c == Component::kInputGlobalScale || c == Component::kWeightScale2 ||
         c == Component::kInputScale;
}

// A hash of everything in which siblings should agree: form, dtype and spelling of each component, and the rank of
// scalars.
std::uint64_t signature(const BindingReport& binding, const Binding& b) {
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
  mix(static_cast<std::uint64_t>(b.form) * 2 + (b.part != ExpertPart::kNone));
  for (std::size_t c = 0; c < kComponentCount; ++c) {
    if (b.tensors[c] < 0) continue;
    const TensorInfo& t = binding.tensor(static_cast<TensorId>(b.tensors[c]));
    mix(c * 1000 + static_cast<std::uint64_t>(t.dtype) * 10 + (is_single_number(c) ? t.shape.size() : 9));
  }
  mix(storage_form(b.form).grid == ScaleGrid::kAnyGroups ? b.group_size : 0);
  return hash;
}

void put(std::vector<StorageClass>& classes, std::uint64_t key, ParameterId p) {
  for (StorageClass& known : classes) {
    if (known.signature == key) return known.members.push_back(p);
  }
  classes.push_back({key, {p}});
}

// The tensor in which a sibling differs: the first component that is not the majority's.
std::string differing_tensor(const BindingReport& binding, ParameterId odd, ParameterId usual) {
  const Binding& a = binding.bindings[odd];
  const Binding& b = binding.bindings[usual];
  std::optional<std::string> absent;
  for (std::size_t c = 0; c < kComponentCount; ++c) {
    if (a.tensors[c] < 0) {
      if (b.tensors[c] >= 0 && !absent) {
        const auto own = a.tensor(a.codes());
        const std::string name = binding.stored_name(*own);
        absent = fmt::format("{}.{}", name.substr(0, name.rfind('.')), component_suffix(static_cast<Component>(c)));
      }
      continue;
    }
    const auto id = static_cast<TensorId>(a.tensors[c]);
    if (b.tensors[c] < 0) return binding.stored_name(id);
    const TensorInfo& mine = binding.tensor(id);
    const TensorInfo& theirs = binding.tensor(static_cast<TensorId>(b.tensors[c]));
    if (mine.dtype != theirs.dtype || (is_single_number(c) && mine.shape.size() != theirs.shape.size()))
      return binding.stored_name(id);
  }
  if (absent) return *absent;
  const auto own = a.tensor(Component::kWeightScale) ? a.tensor(Component::kWeightScale) : a.tensor(Component::kWeight);
  return binding.stored_name(*own);
}

void check_siblings(CheckContext& context, StorageClasses classes) {
  const BindingReport& binding = context.binding();
  std::vector<std::string> odd;
  std::string first;
  for (auto& groups : classes) {
    auto& attention = groups[static_cast<std::size_t>(ModuleGroup::kAttention)];
    auto& output_a = groups[static_cast<std::size_t>(ModuleGroup::kAttentionOutputA)];
    // BF16 wo_a beside quantised attention is legitimate; a quantised one must be stored like the rest of attention.
    for (const StorageClass& c : output_a) {
      if (binding.bindings[c.members[0]].form == StorageForm::kPlain) continue;
      for (const ParameterId p : c.members) put(attention, c.signature, p);
    }
    std::erase_if(output_a, [&](const StorageClass& c) {
      return binding.bindings[c.members[0]].form != StorageForm::kPlain && !attention.empty();
    });
    // Head and embedding have no siblings.
    groups[static_cast<std::size_t>(ModuleGroup::kHead)].clear();
    groups[static_cast<std::size_t>(ModuleGroup::kEmbedding)].clear();
    for (std::size_t g = 0; g < kModuleGroupCount; ++g) {
      const std::vector<StorageClass>& group = groups[g];
      if (group.size() < 2) continue;
      const auto usual = std::max_element(group.begin(), group.end(), [](const StorageClass& a, const StorageClass& b) {
        return a.members.size() < b.members.size();
      });
      for (auto it = group.begin(); it != group.end(); ++it) {
        if (it == usual) continue;
        for (const ParameterId p : it->members) odd.push_back(differing_tensor(binding, p, usual->members[0]));
        if (first.empty()) {
          const std::string mine = stored_form(binding, it->members[0]);
          const std::string theirs = stored_form(binding, usual->members[0]);
          const std::string siblings = fmt::format("its {} siblings in {}", grouped(usual->members.size()),
                                                   module_group_name(static_cast<ModuleGroup>(g)));
          first = mine == theirs ? fmt::format("{} differs in name, dtype or rank from that of {}", odd[0], siblings)
                                 : fmt::format("{}: stored as {}, {} as {}", odd[0], mine, siblings, theirs);
        }
        if (it->members.size() < usual->members.size()) continue;
        // There is no majority.
        for (const ParameterId p : usual->members) odd.push_back(differing_tensor(binding, p, it->members[0]));
      }
    }
  }
  if (!odd.empty()) {
    context.add(Code::kInconsistentStorage,
                first + (odd.size() == 1 ? "" : fmt::format("; and {} more", grouped(odd.size() - 1))), odd);
  }
}

// A drafter's own head in F32, as in the repair published for vLLM issue 43456.
bool is_own_wide_head(const Parameter& parameter, Dtype dtype) {
  return parameter.falls_back_to && parameter.slot == Slot::kHead && dtype == Dtype::kF32;
}

void check_dtypes(CheckContext& context) {
  const BindingReport& binding = context.binding();
  const Manifest& manifest = *binding.manifest;
  std::vector<std::string> downcast;
  std::map<std::pair<Dtype, Dtype>, std::vector<std::string>> other;
  std::vector<std::string> native;
  std::vector<std::string> e8m0_as_u8;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Binding& b = binding.bindings[p];
    if (!b.bound || b.shared) continue;
    const ParameterSpec& spec = manifest[p].spec();
    const auto t = b.tensor(b.codes());
    const TensorInfo& tensor = binding.tensor(*t);
    if (b.form == StorageForm::kPlain) {
      if (spec.storage == Storage::kFloat32 && tensor.dtype != Dtype::kF32) {
        downcast.push_back(binding.stored_name(*t));
      } else if (tensor.dtype != spec.release_dtype && spec.storage != Storage::kLinear &&
                 b.part == ExpertPart::kNone && !is_own_wide_head((*binding.manifest)[p], tensor.dtype)) {
        other[{spec.release_dtype, tensor.dtype}].push_back(binding.stored_name(*t));
      }
    } else if (spec.storage == Storage::kLinearNative) {
      native.push_back(binding.stored_name(*t));
    }
    for (const Component c : kScaleSpellings) {
      const auto s = b.tensor(c);
      if (s && binding.tensor(*s).dtype == Dtype::kU8) e8m0_as_u8.push_back(binding.stored_name(*s));
    }
  }
  if (!downcast.empty()) {
    context.add(
        Code::kFp32Downcast,
        fmt::format("{} F32 in the release but stored in a narrower dtype here, for instance {}",
                    downcast.size() == 1 ? "1 tensor is" : grouped(downcast.size()) + " tensors are", downcast[0]),
        downcast);
  }
  for (const auto& [dtypes, names] : other) {
    context.add(Code::kDtypeNotAsReleased,
                fmt::format("{} {} here, {} in the release: {}{}",
                            names.size() == 1 ? "1 tensor is" : grouped(names.size()) + " tensors are",
                            dtype_name(dtypes.second), dtype_name(dtypes.first), names[0],
                            names.size() == 1 ? "" : fmt::format(" and {} more", grouped(names.size() - 1))),
                names);
  }
  if (!native.empty()) {
    context.add(Code::kQuantisedWhereNative,
                fmt::format("{} of compressor, indexer, router or head are quantised, for instance {}",
                            count_text(native.size(), "weight"), native[0]),
                native);
  }
  if (!e8m0_as_u8.empty()) {
    context.add(Code::kScaleSpelling,
                fmt::format("{} stored as U8 are read as E8M0 exponents, for instance {}",
                            count_text(e8m0_as_u8.size(), "scale"), e8m0_as_u8[0]),
                e8m0_as_u8);
  }
}

// Sound if transformers reads it, and only there.
void check_renamed(CheckContext& context) {
  const BindingReport& binding = context.binding();
  std::vector<std::string> renamed;
  for (TensorId t = 0; t < binding.names.size(); ++t) {
    if (binding.names[t].dialect.renamed) renamed.push_back(binding.stored_name(t));
  }
  if (renamed.empty()) return;
  context.add(
      Code::kTransformersRename,
      fmt::format(
          "{} {} saved under the name that transformers' save_pretrained gives kv_norm: its rule \".kv_norm.\" -> "
          "\".norm.\" is meant for compressors and is not anchored to them",
          renamed.size() == 1 ? renamed[0]
                              : fmt::format("{} such as {}", count_text(renamed.size(), "tensor"), renamed[0]),
          renamed.size() == 1 ? "is" : "are"),
      renamed);
}

void check_naming(CheckContext& context) {
  const BindingReport& binding = context.binding();
  const NamingVotes votes = count_names(binding);
  if (votes[false].unanimous() && votes[true].unanimous()) return;
  std::array<std::vector<std::string>, 2> odd;
  for (TensorId t = 0; t < binding.names.size(); ++t) {
    const TensorName& name = binding.names[t];
    if (name.kind != TensorName::Kind::kParameter) continue;
    const bool drafter = is_drafter(name.block);
    if (votes[drafter].is_odd(name)) odd[drafter].push_back(binding.stored_name(t));
  }
  for (const bool drafter : {false, true}) {
    const std::vector<std::string>& names = odd[drafter];
    if (names.empty()) continue;
    const bool all = votes[drafter].variants >= names.size();
    context.add(
        Code::kMixedNaming,
        fmt::format("{} {} {}: {}{}", count_text(names.size(), "name"), names.size() == 1 ? "is spelt" : "are spelt",
                    all       ? "unlike in the releases or transformers"
                    : drafter ? "unlike the others of the drafter"
                              : "unlike the others of the model",
                    names[0], names.size() == 1 ? "" : fmt::format(" and {} more", grouped(names.size() - 1))),
        names);
  }
}

void summarise_groups(CheckContext& context, const StorageClasses& classes) {
  const BindingReport& binding = context.binding();
  for (const bool drafter : {false, true}) {
    for (std::size_t g = 0; g < kModuleGroupCount; ++g) {
      std::map<std::string, GroupSummary> by_form;
      for (const StorageClass& c : classes[drafter][g]) {
        const std::string form = stored_form(binding, c.members[0]);
        GroupSummary& summary = by_form[form];
        summary.group = static_cast<ModuleGroup>(g);
        summary.drafter = drafter;
        summary.form = form;
        for (const ParameterId p : c.members) {
          ++summary.parameters;
          summary.elements += (*binding.manifest)[p].shape.elements();
          if (binding.names_only) continue;
          for (std::size_t i = 0; i < kComponentCount; ++i) {
            if (binding.bindings[p].tensors[i] >= 0) summary.bytes += binding.slice(p, static_cast<Component>(i)).bytes;
          }
        }
      }
      for (auto& [form, summary] : by_form) context.report.groups.push_back(std::move(summary));
    }
  }
}

StorageClasses classify_storage(const BindingReport& binding) {
  StorageClasses classes;
  for (ParameterId p = 0; p < binding.bindings.size(); ++p) {
    const Binding& b = binding.bindings[p];
    if (!b.bound || b.shared) continue;
    const Parameter& parameter = (*binding.manifest)[p];
    put(classes[is_drafter(parameter.block)][static_cast<std::size_t>(parameter.spec().group)], signature(binding, b),
        p);
  }
  return classes;
}

}  // namespace

void check_spelling(CheckContext& context) {
  if (!context.binding().names_only) check_dtypes(context);
  check_renamed(context);
  check_naming(context);
}

void check_storage(CheckContext& context) {
  StorageClasses classes = classify_storage(context.binding());
  summarise_groups(context, classes);
  if (!context.binding().names_only) check_siblings(context, std::move(classes));
  const ConfigReading& reading = context.reading();
  if (reading.traits.has_scale_fmt || context.binding().names_only) return;
  for (const GroupSummary& group : context.report.groups) {
    if (group.form != "FP8 block (F8_E8M0 scale)") continue;
    context.add(
        Code::kScaleFormatUndeclared,
        fmt::format("{} has FP8 weights with F8_E8M0 scales, but config.json does not declare scale_fmt \"ue8m0\"",
                    module_group_name(group.group)));
    break;
  }
}

}  // namespace outrider
