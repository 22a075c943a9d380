#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "outrider/binding/plan.h"

namespace outrider {
namespace {

using FaultKind = BindingFault::Kind;

constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return (a + b - 1) / b;
}

bool is_plain_float(Dtype d) {
  return d == Dtype::kBF16 || d == Dtype::kF16 || d == Dtype::kF32;
}
bool is_byte(Dtype d) {
  return d == Dtype::kI8 || d == Dtype::kU8;
}
bool is_scale_float(Dtype d) {
  return is_plain_float(d);
}

class Binder {
 public:
  Binder(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<const Manifest> manifest)
      : checkpoint_(*checkpoint), manifest_(*manifest) {
    out_.checkpoint = std::move(checkpoint);
    out_.manifest = std::move(manifest);
    out_.names_only = checkpoint_.names_only();
    out_.bindings.resize(manifest_.parameters().size());
    for (Binding& b : out_.bindings) b.tensors.fill(-1);
    out_.uses.assign(checkpoint_.tensors().size(), TensorUse::kUndecided);
    parse_names();
    const auto& block = manifest_.config().quantization ? manifest_.config().quantization->weight_block_size
                                                        : std::vector<std::uint64_t>{};
    if (block.size() == 2) {
      block_rows_ = block[0];
      block_cols_ = block[1];
    }
  }

  BindingReport run() {
    for (TensorId t = 0; t < checkpoint_.tensors().size(); ++t) place(t);
    for (ParameterId p = 0; p < out_.bindings.size(); ++p) resolve(p);
    for (ParameterId p = 0; p < out_.bindings.size(); ++p) fall_back(p);
    for (TensorUse& use : out_.uses) {
      if (use == TensorUse::kUndecided) use = TensorUse::kUnusedUnknown;
    }
    return std::move(out_);
  }

 private:
  const TensorInfo& tensor(TensorId t) const { return checkpoint_.tensors()[t]; }
  void use(TensorId t, TensorUse how) { out_.uses[t] = how; }

  void fault(FaultKind kind, ParameterId p, std::optional<TensorId> t, std::string detail,
             std::optional<Component> companion = std::nullopt) {
    auto& list = manifest_[p].block.kind == BlockKind::kDspark ? out_.drafter_faults : out_.faults;
    list.push_back({kind, p, t, std::move(detail), companion});
  }

  void parse_names() {
    out_.names.resize(checkpoint_.tensors().size());
    const std::size_t count = out_.names.size();
    const auto work = [this](std::size_t begin, std::size_t end) {
      const std::uint64_t layers = manifest_.config().num_hidden_layers;
      const bool dspark = manifest_.drafter() == DrafterKind::kDspark;
      for (std::size_t t = begin; t < end; ++t) {
        out_.names[t] = parse_tensor_name(checkpoint_.tensors()[t].name, layers, dspark);
      }
    };
    if (count < 4096) return work(0, count);
    const std::jthread half(work, 0, count / 2);
    work(count / 2, count);
  }

  void place(TensorId t) {
    const TensorInfo& info = tensor(t);
    const TensorName& name = out_.names[t];
    if (!checkpoint_.files()[info.file].in_index) return use(t, TensorUse::kUnusedStrayFile);
    switch (name.kind) {
      case TensorName::Kind::kParameter:
        break;
      case TensorName::Kind::kVision:
        return use(t, TensorUse::kUnusedVision);
      case TensorName::Kind::kEngram:
        return use(t, TensorUse::kUnusedEngram);
      case TensorName::Kind::kExploded:
        return use(t, TensorUse::kUnusedExploded);
      case TensorName::Kind::kRotaryCache:
        return use(t, TensorUse::kUnusedRotaryCache);
      case TensorName::Kind::kUnknown:
        return use(t, TensorUse::kUnusedUnknown);
    }
    if (name.part != ExpertPart::kNone) return place_stack(t, name);
    const std::optional<ParameterId> p = manifest_.find(name.block, name.slot, name.expert);
    if (!p) {
      const bool drafter = name.block.kind == BlockKind::kMtp && !manifest_.has_block(name.block);
      return use(t, drafter ? TensorUse::kUnusedNoDrafter : TensorUse::kUnusedOutside);
    }
    claim(t, *p, name.component, ExpertPart::kNone);
  }

  void claim(TensorId t, ParameterId p, Component component, ExpertPart part) {
    Binding& b = out_.bindings[p];
    std::int32_t& at = b.tensors[static_cast<std::size_t>(component)];
    if (at >= 0) {
      use(t, TensorUse::kUnusedDuplicate);
      const TensorInfo& first = tensor(static_cast<TensorId>(at));
      const std::string& first_file = checkpoint_.files()[first.file].name;
      const std::string& second_file = checkpoint_.files()[tensor(t).file].name;
      fault(FaultKind::kBoundTwice, p, t,
            first.name == tensor(t).name ? fmt::format("stored twice, in {} and in {}", first_file, second_file)
                                         : fmt::format("stored twice, as {} and as {}", first.name, tensor(t).name));
      return;
    }
    at = static_cast<std::int32_t>(t);
    b.part = part;
    use(t, TensorUse::kUsed);
  }

  // One tensor that holds all experts of a block. Every expert's parameters get it; its shape is checked per parameter.
  void place_stack(TensorId t, const TensorName& name) {
    if (!manifest_.has_block(name.block)) return use(t, TensorUse::kUnusedOutside);
    const bool down = name.part == ExpertPart::kStackedDown;
    const auto first = manifest_.find(name.block, down ? Slot::kExpertW2 : Slot::kExpertW1, 0);
    const auto component = static_cast<std::size_t>(Component::kWeight);
    if (first && out_.bindings[*first].tensors[component] >= 0) {
      return claim(t, *first, Component::kWeight, name.part);
    }
    const std::vector<Slot> slots = down ? std::vector{Slot::kExpertW2} : std::vector{Slot::kExpertW1, Slot::kExpertW3};
    for (std::uint64_t e = 0; e < manifest_.config().n_routed_experts; ++e) {
      for (const Slot slot : slots) {
        const auto p = manifest_.find(name.block, slot, static_cast<std::int32_t>(e));
        if (p) claim(t, *p, Component::kWeight, name.part);
      }
    }
    use(t, TensorUse::kUsed);
  }

  bool has(const Binding& b, Component c) const { return b.tensors[static_cast<std::size_t>(c)] >= 0; }

  // Releases the components outside of `keep` with a reason.
  void release(Binding& b, std::initializer_list<Component> keep, TensorUse reason, ParameterId p, bool is_fault) {
    for (std::size_t i = 0; i < kComponentCount; ++i) {
      const auto component = static_cast<Component>(i);
      if (b.tensors[i] < 0 || std::find(keep.begin(), keep.end(), component) != keep.end()) continue;
      const auto t = static_cast<TensorId>(b.tensors[i]);
      if (component == Component::kInputScale || component == Component::kInputGlobalScale) {
        use(t, reason == TensorUse::kUnusedOrphan ? reason : TensorUse::kUnusedActivationScale);
        if (reason == TensorUse::kUnusedOrphan) b.tensors[i] = -1;
        continue;
      }
      b.tensors[i] = -1;
      use(t, reason);
      if (is_fault) {
        fault(FaultKind::kStrayCompanion, p, t,
              fmt::format("{} stands beside a weight that is stored as {}, which has no {}", tensor(t).name,
                          weight_description(b), component_suffix(component)));
      }
    }
  }

  std::string weight_description(const Binding& b) const {
    for (const Component c : {Component::kWeight, Component::kWeightPacked}) {
      if (const auto t = b.tensor(c)) return std::string(dtype_name(tensor(*t).dtype));
    }
    return "nothing";
  }

  void resolve(ParameterId p) {
    Binding& b = out_.bindings[p];
    const ParameterSpec& spec = manifest_[p].spec();
    const bool weight = has(b, Component::kWeight);
    const bool packed = has(b, Component::kWeightPacked);
    if (!weight && !packed) {
      release(b, {}, TensorUse::kUnusedOrphan, p, false);
      if (!manifest_[p].falls_back_to) {
        fault(FaultKind::kMissing, p, std::nullopt, "no tensor in the checkpoint is this parameter");
      }
      return;
    }
    b.bound = true;
    if (out_.names_only) return resolve_names(p, b);
    const std::size_t before = out_.faults.size() + out_.drafter_faults.size();
    const bool linear = spec.storage == Storage::kLinear || spec.storage == Storage::kLinearNative;
    if (b.part != ExpertPart::kNone) {
      resolve_stacked(p, b);
    } else if (!linear) {
      resolve_unquantised(p, b);
    } else if (packed) {
      resolve_packed(p, b);
    } else {
      resolve_weight(p, b);
    }
    check_truncation(p, b);
    if (out_.faults.size() + out_.drafter_faults.size() != before) b.bound = false;
  }

  // Without dtypes and shapes, only names can speak: which companions stand beside the weight.
  void resolve_names(ParameterId p, Binding& b) {
    if (has(b, Component::kWeightPacked)) {
      const bool nvfp4 = has(b, Component::kWeightGlobalScale);
      b.form = nvfp4 ? StorageForm::kNvfp4 : StorageForm::kW4A16;
      need(p, b, Component::kWeightScale);
      if (!nvfp4) need(p, b, Component::kWeightShape);
    } else if (has(b, Component::kWeightScale2)) {
      b.form = StorageForm::kNvfp4Modelopt;
      need(p, b, Component::kWeightScale);
    } else if (has(b, Component::kScale) || has(b, Component::kWeightScale) || has(b, Component::kWeightScaleInv)) {
      b.form = manifest_[p].spec().group == ModuleGroup::kExperts && has(b, Component::kScale) ? StorageForm::kMxfp4
                                                                                               : StorageForm::kFp8Block;
    }
    release(b,
            {Component::kWeight, Component::kScale, Component::kWeightScale, Component::kWeightScaleInv,
             Component::kWeightPacked, Component::kWeightShape, Component::kWeightZeroPoint, Component::kWeightGIdx,
             Component::kWeightGlobalScale, Component::kWeightScale2},
            TensorUse::kUnusedStray, p, false);
  }

  std::optional<TensorId> need(ParameterId p, const Binding& b, Component c) {
    if (const auto t = b.tensor(c)) return t;
    fault(FaultKind::kMissingCompanion, p,
          b.tensor(Component::kWeight) ? b.tensor(Component::kWeight) : b.tensor(Component::kWeightPacked),
          fmt::format("stored as {} ({}) but {} is not in the checkpoint", storage_form_name(b.form),
                      weight_description(b), companion_name(p, b, c)),
          c);
    return std::nullopt;
  }

  // What the missing companion would be called beside the weight that is there.
  std::string companion_name(ParameterId p, const Binding& b, Component c) const {
    for (const Component w : {Component::kWeight, Component::kWeightPacked}) {
      const auto t = b.tensor(w);
      if (!t) continue;
      std::string name(tensor(*t).name);
      if (name.ends_with(component_suffix(w))) {
        return name.substr(0, name.size() - component_suffix(w).size()).append(component_suffix(c));
      }
    }
    return fmt::format("{} ({})", manifest_[p].name(), component_suffix(c));
  }

  bool expect_shape(ParameterId p, TensorId t, std::initializer_list<std::uint64_t> shape, FaultKind kind,
                    std::string_view what) {
    const auto& have = tensor(t).shape;
    if (std::equal(have.begin(), have.end(), shape.begin(), shape.end())) return true;
    fault(kind, p, t,
          fmt::format("{} is {}, but {} is {}", tensor(t).name, shape_text(have), what,
                      shape_text(std::span<const std::uint64_t>(shape.begin(), shape.size()))));
    return false;
  }

  bool expect_parameter_shape(ParameterId p, TensorId t) {
    const ParameterShape& want = manifest_[p].shape;
    const auto& have = tensor(t).shape;
    const auto shape = want.span();
    if (std::equal(have.begin(), have.end(), shape.begin(), shape.end())) return true;
    fault(FaultKind::kWrongShape, p, t,
          fmt::format("{} is {}, but by config.json {} is {}", tensor(t).name, shape_text(have), manifest_[p].name(),
                      shape_text(shape)));
    return false;
  }

  bool expect_dtype(ParameterId p, TensorId t, bool allowed, FaultKind kind, std::string_view expected) {
    if (allowed) return true;
    fault(kind, p, t, fmt::format("{} is {}; {} is expected", tensor(t).name, dtype_name(tensor(t).dtype), expected));
    return false;
  }

  void resolve_unquantised(ParameterId p, Binding& b) {
    const TensorId t = *b.tensor(has(b, Component::kWeight) ? Component::kWeight : Component::kWeightPacked);
    const Dtype dtype = tensor(t).dtype;
    b.form = StorageForm::kPlain;
    if (!has(b, Component::kWeight)) {
      expect_dtype(p, t, false, FaultKind::kWrongDtype, "an unquantised tensor");
      return;
    }
    if (manifest_[p].spec().storage == Storage::kInteger) {
      expect_dtype(p, t, dtype == Dtype::kI64 || dtype == Dtype::kI32, FaultKind::kWrongDtype,
                   "I64 or I32: a table of expert numbers");
    } else {
      expect_dtype(p, t, is_plain_float(dtype), FaultKind::kWrongDtype, "BF16, F16 or F32");
    }
    expect_parameter_shape(p, t);
    release(b, {Component::kWeight}, TensorUse::kUnusedStray, p, true);
  }

  void resolve_stacked(ParameterId p, Binding& b) {
    b.form = StorageForm::kPlain;
    const TensorId t = *b.tensor(Component::kWeight);
    // One fault for the stack, not one for each expert's slice.
    const bool first = manifest_[p].expert == 0 && manifest_[p].slot != Slot::kExpertW3;
    const ModelConfig& c = manifest_.config();
    const bool gate_up = b.part == ExpertPart::kStackedGateUp;
    const std::uint64_t rows = gate_up ? 2 * c.moe_intermediate_size : c.hidden_size;
    const std::uint64_t cols = gate_up ? c.hidden_size : c.moe_intermediate_size;
    const auto& shape = tensor(t).shape;
    const bool fits = shape.size() == 3 && shape[0] == c.n_routed_experts && shape[1] == rows && shape[2] == cols;
    if (!fits && first) {
      expect_shape(p, t, {c.n_routed_experts, rows, cols}, FaultKind::kWrongShape, "the stack of all experts");
    }
    const bool plain = is_plain_float(tensor(t).dtype);
    if (!plain && first) {
      expect_dtype(p, t, false, FaultKind::kWrongDtype, "BF16, F16 or F32 (stacked experts are read unquantised only)");
    }
    if (!fits || !plain) b.bound = false;
    release(b, {Component::kWeight}, TensorUse::kUnusedStray, p, true);
  }

  void resolve_packed(ParameterId p, Binding& b) {
    const TensorId t = *b.tensor(Component::kWeightPacked);
    const ParameterShape& shape = manifest_[p].shape;
    const std::uint64_t out = shape.dims[0];
    const std::uint64_t in = shape.dims[1];
    if (const auto weight = b.tensor(Component::kWeight)) {
      fault(FaultKind::kBoundTwice, p, weight,
            fmt::format("stored twice, as {} and as {}", tensor(*weight).name, tensor(t).name));
      use(*weight, TensorUse::kUnusedDuplicate);
      b.tensors[static_cast<std::size_t>(Component::kWeight)] = -1;
      return;
    }
    if (tensor(t).dtype == Dtype::kI32) {
      b.form = StorageForm::kW4A16;
      expect_shape(p, t, {out, ceil_div(in, 8)}, FaultKind::kWrongShape, "its W4A16 form, eight nibbles to an I32,");
      if (const auto s = need(p, b, Component::kWeightScale)) {
        expect_dtype(p, *s, is_scale_float(tensor(*s).dtype), FaultKind::kWrongCompanion, "BF16, F16 or F32");
        const auto& have = tensor(*s).shape;
        if (have.size() != 2 || have[0] != out || have[1] == 0 || in % have[1] != 0) {
          fault(FaultKind::kWrongCompanion, p, *s,
                fmt::format("{} is {}, but a scale for each group of a row is [{}, {} / group size]", tensor(*s).name,
                            shape_text(have), out, in));
        } else {
          b.group_size = static_cast<std::uint32_t>(in / have[1]);
        }
      }
      if (const auto s = need(p, b, Component::kWeightShape)) {
        expect_dtype(p, *s, tensor(*s).dtype == Dtype::kI64 || tensor(*s).dtype == Dtype::kI32,
                     FaultKind::kWrongCompanion, "I64");
        expect_shape(p, *s, {2}, FaultKind::kWrongCompanion, "a weight's shape");
      }
      if (const auto z = b.tensor(Component::kWeightZeroPoint); z && b.group_size != 0) {
        expect_dtype(p, *z, tensor(*z).dtype == Dtype::kI32, FaultKind::kWrongCompanion, "I32");
        expect_shape(p, *z, {ceil_div(out, 8), in / b.group_size}, FaultKind::kWrongCompanion,
                     "a packed zero point for each group");
      }
      if (const auto g = b.tensor(Component::kWeightGIdx)) {
        expect_dtype(p, *g, tensor(*g).dtype == Dtype::kI32, FaultKind::kWrongCompanion, "I32");
        expect_shape(p, *g, {in}, FaultKind::kWrongCompanion, "a group number for each column");
      }
      release(b,
              {Component::kWeightPacked, Component::kWeightScale, Component::kWeightShape, Component::kWeightZeroPoint,
               Component::kWeightGIdx},
              TensorUse::kUnusedStray, p, true);
    } else if (is_byte(tensor(t).dtype) || tensor(t).dtype == Dtype::kF4) {
      b.form = StorageForm::kNvfp4;
      expect_fp4_shape(p, t, out, in);
      if (const auto s = need(p, b, Component::kWeightScale)) expect_nvfp4_scale(p, *s, out, in);
      if (const auto g = need(p, b, Component::kWeightGlobalScale)) expect_scalar(p, *g);
      if (const auto g = b.tensor(Component::kInputGlobalScale)) expect_scalar(p, *g);
      b.group_size = 16;
      release(b, {Component::kWeightPacked, Component::kWeightScale, Component::kWeightGlobalScale},
              TensorUse::kUnusedStray, p, true);
    } else {
      expect_dtype(p, t, false, FaultKind::kWrongDtype, "I32 (W4A16) or U8 (NVFP4)");
    }
  }

  void expect_fp4_shape(ParameterId p, TensorId t, std::uint64_t out, std::uint64_t in) {
    if (tensor(t).dtype == Dtype::kF4) {
      expect_shape(p, t, {out, in}, FaultKind::kWrongShape, "its FP4 form");
    } else {
      expect_shape(p, t, {out, ceil_div(in, 2)}, FaultKind::kWrongShape, "its FP4 form, two codes to a byte,");
    }
  }

  void expect_nvfp4_scale(ParameterId p, TensorId t, std::uint64_t out, std::uint64_t in) {
    expect_dtype(p, t, tensor(t).dtype == Dtype::kF8E4M3, FaultKind::kWrongCompanion, "F8_E4M3");
    expect_shape(p, t, {out, ceil_div(in, 16)}, FaultKind::kWrongCompanion, "an NVFP4 scale, one for 16 columns,");
  }

  void expect_scalar(ParameterId p, TensorId t) {
    expect_dtype(p, t, tensor(t).dtype == Dtype::kF32, FaultKind::kWrongCompanion, "F32");
    const auto& shape = tensor(t).shape;
    if (shape.empty() || (shape.size() == 1 && shape[0] == 1)) return;
    fault(FaultKind::kWrongCompanion, p, t,
          fmt::format("{} is {}, but a global scale is one number, [] or [1]", tensor(t).name, shape_text(shape)));
  }

  void resolve_weight(ParameterId p, Binding& b) {
    const TensorId t = *b.tensor(Component::kWeight);
    const std::uint64_t out = manifest_[p].shape.dims[0];
    const std::uint64_t in = manifest_[p].shape.dims[1];
    const Dtype dtype = tensor(t).dtype;
    if (is_plain_float(dtype)) {
      b.form = StorageForm::kPlain;
      expect_parameter_shape(p, t);
      release(b, {Component::kWeight}, TensorUse::kUnusedStray, p, true);
    } else if (dtype == Dtype::kF8E4M3) {
      b.form = StorageForm::kFp8Block;
      expect_parameter_shape(p, t);
      if (const auto c = only_scale(p, b)) {
        const TensorId s = *b.tensor(*c);
        const Dtype d = tensor(s).dtype;
        expect_dtype(p, s, is_scale_float(d) || d == Dtype::kF8E8M0 || d == Dtype::kU8, FaultKind::kWrongCompanion,
                     "F8_E8M0, F32 or BF16");
        expect_shape(p, s, {ceil_div(out, block_rows_), ceil_div(in, block_cols_)}, FaultKind::kWrongCompanion,
                     fmt::format("a scale for each {}x{} block", block_rows_, block_cols_));
        release(b, {Component::kWeight, *c}, TensorUse::kUnusedStray, p, true);
      }
    } else if (is_byte(dtype) || dtype == Dtype::kF4) {
      const auto weight_scale = b.tensor(Component::kWeightScale);
      if (has(b, Component::kWeightScale2) || (weight_scale && tensor(*weight_scale).dtype == Dtype::kF8E4M3)) {
        b.form = StorageForm::kNvfp4Modelopt;
        b.group_size = 16;
        expect_fp4_shape(p, t, out, in);
        if (const auto s = need(p, b, Component::kWeightScale)) expect_nvfp4_scale(p, *s, out, in);
        if (const auto s = need(p, b, Component::kWeightScale2)) expect_scalar(p, *s);
        if (const auto s = b.tensor(Component::kInputScale)) expect_scalar(p, *s);
        release(b, {Component::kWeight, Component::kWeightScale, Component::kWeightScale2}, TensorUse::kUnusedStray, p,
                true);
        return;
      }
      b.form = StorageForm::kMxfp4;
      b.group_size = 32;
      expect_fp4_shape(p, t, out, in);
      if (const auto c = only_scale(p, b)) {
        const TensorId s = *b.tensor(*c);
        expect_dtype(p, s, tensor(s).dtype == Dtype::kF8E8M0 || tensor(s).dtype == Dtype::kU8,
                     FaultKind::kWrongCompanion,
                     "F8_E8M0: the scale of FP4 codes is an exponent, not a number to cast,");
        expect_shape(p, s, {out, ceil_div(in, 32)}, FaultKind::kWrongCompanion, "an MXFP4 scale, one for 32 columns,");
        release(b, {Component::kWeight, *c}, TensorUse::kUnusedStray, p, true);
      }
    } else {
      expect_dtype(p, t, false, FaultKind::kWrongDtype, "BF16, F16, F32, F8_E4M3 or packed FP4");
    }
  }

  // The one tensor among X.scale, X.weight_scale and X.weight_scale_inv that stands beside a weight.
  std::optional<Component> only_scale(ParameterId p, Binding& b) {
    std::optional<Component> found;
    for (const Component c : {Component::kScale, Component::kWeightScale, Component::kWeightScaleInv}) {
      const auto t = b.tensor(c);
      if (!t) continue;
      if (found) {
        use(*t, TensorUse::kUnusedDuplicate);
        fault(FaultKind::kBoundTwice, p, *t,
              fmt::format("has two scales, {} and {}", tensor(*b.tensor(*found)).name, tensor(*t).name));
        b.tensors[static_cast<std::size_t>(c)] = -1;
      } else {
        found = c;
      }
    }
    if (!found) {
      fault(FaultKind::kMissingCompanion, p, b.tensor(Component::kWeight),
            fmt::format("stored as {} ({}) but its scale is not in the checkpoint: none of {}, {} and {}",
                        storage_form_name(b.form), weight_description(b), companion_name(p, b, Component::kScale),
                        component_suffix(Component::kWeightScale), component_suffix(Component::kWeightScaleInv)));
    }
    return found;
  }

  void check_truncation(ParameterId p, const Binding& b) {
    for (const std::int32_t i : b.tensors) {
      if (i < 0) continue;
      const auto t = static_cast<TensorId>(i);
      const ShardFile& file = checkpoint_.files()[tensor(t).file];
      if (file.data_start + tensor(t).end <= file.file_bytes) continue;
      if (b.part != ExpertPart::kNone && (manifest_[p].expert != 0 || manifest_[p].slot == Slot::kExpertW3)) continue;
      fault(FaultKind::kTruncated, p, t,
            fmt::format("{} should end at byte {} of {}, which has only {}", tensor(t).name,
                        file.data_start + tensor(t).end, file.name, file.file_bytes));
    }
  }

  // Head and embedding of an MTP block: without their own copy, the model's.
  void fall_back(ParameterId p) {
    Binding& b = out_.bindings[p];
    const std::optional<ParameterId>& source = manifest_[p].falls_back_to;
    if (!source || b.tensor(Component::kWeight) || b.tensor(Component::kWeightPacked)) return;
    b = out_.bindings[*source];
    b.shared = true;
  }

  const Checkpoint& checkpoint_;
  const Manifest& manifest_;
  BindingReport out_;
  std::uint64_t block_rows_ = 128;
  std::uint64_t block_cols_ = 128;
};

// The proof, apart from the binding it proves: counts for every parameter and every tensor what covers it.
void prove(BindingReport& report) {
  const Manifest& manifest = *report.manifest;
  std::vector<std::uint64_t> claimed(report.uses.size());
  std::vector<bool> faulty(report.bindings.size());
  for (const BindingFault& f : report.faults) faulty[f.parameter] = true;
  for (ParameterId p = 0; p < report.bindings.size(); ++p) {
    const Binding& b = report.bindings[p];
    if (manifest[p].block.kind == BlockKind::kDspark) continue;
    if (!b.bound) {
      // One fault for a stack of experts stands for all its slices, one for a shared tensor for all who share it.
      const bool elsewhere = b.part != ExpertPart::kNone || manifest[p].falls_back_to;
      if (!faulty[p] && (!elsewhere || report.faults.empty())) {
        report.faults.push_back({BindingFault::Kind::kMissing, p, std::nullopt, "was not bound", std::nullopt});
      }
      continue;
    }
    if (b.shared) continue;
    for (std::size_t c = 0; c < kComponentCount; ++c) {
      if (b.tensors[c] >= 0)
        claimed[static_cast<std::size_t>(b.tensors[c])] += report.slice(p, static_cast<Component>(c)).bytes;
    }
    const auto codes = b.tensor(Component::kWeight) ? Component::kWeight : Component::kWeightPacked;
    const TensorId t = *b.tensor(codes);
    const std::uint64_t bits =
        b.form == StorageForm::kPlain || b.form == StorageForm::kFp8Block ? dtype_bits(report.tensor(t).dtype) : 4;
    const std::uint64_t covered = report.slice(p, codes).bytes * 8 / bits;
    const std::uint64_t elements = manifest[p].shape.elements();
    // A row of an odd number of nibbles ends in padding.
    if (covered < elements || (covered != elements && bits != 4)) {
      report.faults.push_back({BindingFault::Kind::kWrongShape, p, t,
                               fmt::format("{} covers {} of {} elements", report.tensor(t).name, covered, elements),
                               std::nullopt});
    }
  }
  for (TensorId t = 0; t < report.uses.size(); ++t) {
    if (report.uses[t] != TensorUse::kUsed || claimed[t] == report.tensor(t).bytes()) continue;
    if (claimed[t] == 0) continue;  // its parameter has a fault, or belongs to a drafter that is not run
    report.faults.push_back({BindingFault::Kind::kBoundTwice, 0, t,
                             fmt::format("{} has {} bytes but parameters claim {}", report.tensor(t).name,
                                         report.tensor(t).bytes(), claimed[t]),
                             std::nullopt});
  }
}

}  // namespace

BindResult bind(std::shared_ptr<const Checkpoint> checkpoint, std::shared_ptr<const Manifest> manifest) {
  BindingReport report = Binder(std::move(checkpoint), std::move(manifest)).run();
  if (report.names_only) return report;
  prove(report);
  for (TensorId t = 0; t < report.uses.size(); ++t) {
    const bool dspark =
        report.names[t].kind == TensorName::Kind::kParameter && report.names[t].block.kind == BlockKind::kDspark;
    if (dspark && report.uses[t] == TensorUse::kUsed) report.uses[t] = TensorUse::kUnusedDspark;
  }
  if (!report.faults.empty()) return report;
  return CompletePlan(std::move(report));
}

}  // namespace outrider
