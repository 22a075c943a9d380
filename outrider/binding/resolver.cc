#include "outrider/binding/resolver.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace outrider {
namespace {

constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return (a + b - 1) / b;
}

bool is_byte(Dtype d) {
  return d == Dtype::kI8 || d == Dtype::kU8;
}

}  // namespace

Resolver::Resolver(BindingReport& report) : report_(report) {
  const auto [rows, cols] = report.manifest->config().fp8_block();
  block_rows_ = rows;
  block_cols_ = cols;
  const std::vector<ShardFile>& files = report.checkpoint->files();
  any_truncated_ = std::any_of(files.begin(), files.end(),
                               [](const ShardFile& file) { return file.expected_bytes > file.file_bytes; });
}

void Resolver::fault(FaultKind kind, ParameterId p, std::optional<TensorId> t, std::string detail,
                     std::optional<Component> companion) {
  faults_of(p).push_back({kind, p, t, std::move(detail), companion, false});
}

void Resolver::release(Binding& b, std::initializer_list<Component> keep, TensorUse reason, ParameterId p,
                       bool is_fault) {
  std::uint32_t kept = 0;
  for (const Component c : keep) kept |= 1U << static_cast<unsigned>(c);
  for (std::size_t i = 0; i < kComponentCount; ++i) {
    if (b.tensors[i] < 0 || (kept >> i & 1) != 0) continue;
    const auto component = static_cast<Component>(i);
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
            fmt::format("{} stands beside a weight that is stored as {}, which has no {}", report_.stored_name(t),
                        weight_description(b), component_suffix(component)));
    }
  }
}

std::string Resolver::weight_description(const Binding& b) const {
  for (const Component c : {Component::kWeight, Component::kWeightPacked}) {
    if (const auto t = b.tensor(c)) return std::string(dtype_name(tensor(*t).dtype));
  }
  return "nothing";
}

void Resolver::resolve(ParameterId p) {
  Binding& b = report_.bindings[p];
  const ParameterSpec& spec = parameter(p).spec();
  const bool weight = has(b, Component::kWeight);
  const bool packed = has(b, Component::kWeightPacked);
  if (!weight && !packed) {
    release(b, {}, TensorUse::kUnusedOrphan, p, false);
    if (!parameter(p).falls_back_to) {
      fault(FaultKind::kMissing, p, std::nullopt, "no tensor in the checkpoint is this parameter");
    }
    return;
  }
  b.bound = true;
  if (report_.names_only) return resolve_names(p, b);
  const std::size_t before = faults.size() + drafter_faults.size();
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
  if (any_truncated_) check_truncation(p, b);
  if (faults.size() + drafter_faults.size() != before) b.bound = false;
}

void Resolver::resolve_names(ParameterId p, Binding& b) {
  if (has(b, Component::kWeightPacked)) {
    const bool nvfp4 = has(b, Component::kWeightGlobalScale);
    b.form = nvfp4 ? StorageForm::kNvfp4 : StorageForm::kW4A16;
    need(p, b, Component::kWeightScale);
    if (!nvfp4) need(p, b, Component::kWeightShape);
  } else if (has(b, Component::kWeightScale2)) {
    b.form = StorageForm::kNvfp4Modelopt;
    need(p, b, Component::kWeightScale);
  } else if (has(b, Component::kScale) || has(b, Component::kWeightScale) || has(b, Component::kWeightScaleInv)) {
    b.form = parameter(p).spec().group == ModuleGroup::kExperts && has(b, Component::kScale) ? StorageForm::kMxfp4
                                                                                             : StorageForm::kFp8Block;
  }
  release(b,
          {Component::kWeight, Component::kScale, Component::kWeightScale, Component::kWeightScaleInv,
           Component::kWeightPacked, Component::kWeightShape, Component::kWeightZeroPoint, Component::kWeightGIdx,
           Component::kWeightGlobalScale, Component::kWeightScale2},
          TensorUse::kUnusedStray, p, false);
}

std::optional<TensorId> Resolver::need(ParameterId p, const Binding& b, Component c) {
  if (const auto t = b.tensor(c)) return t;
  fault(FaultKind::kMissingCompanion, p, b.tensor(b.codes()),
        fmt::format("stored as {} ({}) but {} is not in the checkpoint", storage_form_name(b.form),
                    weight_description(b), companion_name(p, b, c)),
        c);
  return std::nullopt;
}

std::string Resolver::companion_name(ParameterId p, const Binding& b, Component c) const {
  for (const Component w : {Component::kWeight, Component::kWeightPacked}) {
    const auto t = b.tensor(w);
    if (!t) continue;
    std::string name = report_.stored_name(*t);
    if (name.ends_with(component_suffix(w))) {
      return name.substr(0, name.size() - component_suffix(w).size()).append(component_suffix(c));
    }
  }
  return fmt::format("{} ({})", parameter(p).name(), component_suffix(c));
}

bool Resolver::expect_shape(ParameterId p, TensorId t, std::initializer_list<std::uint64_t> shape, FaultKind kind,
                            std::string_view what) {
  const auto& have = tensor(t).shape;
  if (same_shape(have, {shape.begin(), shape.size()})) return true;
  fault(kind, p, t,
        fmt::format("{} is {}, but {} is {}", report_.stored_name(t), shape_text(have), what,
                    shape_text(std::span<const std::uint64_t>(shape.begin(), shape.size()))));
  return false;
}

void Resolver::transposed_fault(ParameterId p, TensorId t, std::string detail) {
  fault(FaultKind::kWrongShape, p, t, std::move(detail));
  faults_of(p).back().transposed = true;
}

bool Resolver::expect_parameter_shape(ParameterId p, TensorId t) {
  const ParameterShape& want = parameter(p).shape;
  const auto& have = tensor(t).shape;
  const auto shape = want.span();
  if (same_shape(have, shape)) return true;
  if (want.rank == 2 && have.size() == 2 && have[0] == shape[1] && have[1] == shape[0]) {
    transposed_fault(p, t,
                     fmt::format("{} is transposed: stored {}, expected {}", report_.stored_name(t), shape_text(have),
                                 shape_text(shape)));
    return false;
  }
  fault(FaultKind::kWrongShape, p, t,
        fmt::format("{} is {}, but by config.json {} is {}", report_.stored_name(t), shape_text(have),
                    parameter(p).name(), shape_text(shape)));
  return false;
}

bool Resolver::expect_dtype(ParameterId p, TensorId t, bool allowed, FaultKind kind, std::string_view expected) {
  if (allowed) return true;
  fault(kind, p, t,
        fmt::format("{} is {}; {} is expected", report_.stored_name(t), dtype_name(tensor(t).dtype), expected));
  return false;
}

void Resolver::resolve_unquantised(ParameterId p, Binding& b) {
  const TensorId t = *b.tensor(b.codes());
  const Dtype dtype = tensor(t).dtype;
  b.form = StorageForm::kPlain;
  if (!has(b, Component::kWeight)) {
    expect_dtype(p, t, false, FaultKind::kWrongDtype, "an unquantised tensor");
    return;
  }
  if (parameter(p).spec().storage == Storage::kInteger) {
    expect_dtype(p, t, dtype == Dtype::kI64 || dtype == Dtype::kI32, FaultKind::kWrongDtype,
                 "I64 or I32: a table of expert numbers");
  } else {
    expect_dtype(p, t, is_plain_float(dtype), FaultKind::kWrongDtype, "BF16, F16 or F32");
  }
  expect_parameter_shape(p, t);
  release(b, {Component::kWeight}, TensorUse::kUnusedStray, p, true);
}

void Resolver::resolve_stacked(ParameterId p, Binding& b) {
  const ModelConfig& c = report_.manifest->config();
  const bool gate_up = b.part == ExpertPart::kStackedGateUp;
  const std::uint64_t rows = gate_up ? 2 * c.moe_intermediate_size : c.hidden_size;
  const std::uint64_t cols = gate_up ? c.hidden_size : c.moe_intermediate_size;
  if (auto fault = fault_of_stack(p, b, report_.manifest->experts(parameter(p).block), rows, cols)) {
    b.bound = false;
    // One fault for the stack, not one for each expert's slice.
    const bool first = parameter(p).expert == 0 && parameter(p).slot != Slot::kExpertW3;
    if (first) faults_of(p).push_back(std::move(*fault));
  }
  const bool quantised = b.form != StorageForm::kPlain;
  release(b, {Component::kWeight, quantised ? Component::kWeightScaleInv : Component::kWeight}, TensorUse::kUnusedStray,
          p, true);
}

std::optional<BindingFault> Resolver::fault_of_stack(ParameterId p, Binding& b, std::uint64_t experts,
                                                     std::uint64_t rows, std::uint64_t cols) {
  const TensorId t = *b.tensor(Component::kWeight);
  const Dtype dtype = tensor(t).dtype;
  const auto misfit = [&](TensorId of, FaultKind kind, std::initializer_list<std::uint64_t> shape,
                          std::string_view what) -> std::optional<BindingFault> {
    const std::span<const std::uint64_t> want(shape.begin(), shape.size());
    if (same_shape(tensor(of).shape, want)) return std::nullopt;
    return BindingFault{kind,
                        p,
                        of,
                        fmt::format("{} is {}, but {} is {}", report_.stored_name(of), shape_text(tensor(of).shape),
                                    what, shape_text(want)),
                        std::nullopt,
                        false};
  };
  const auto codes = [&](std::uint64_t stored_cols) {
    return misfit(t, FaultKind::kWrongShape, {experts, rows, stored_cols}, "the stack of all experts");
  };
  if (is_plain_float(dtype)) {
    b.form = StorageForm::kPlain;
    const std::array<std::uint64_t, 3> swapped = {experts, cols, rows};
    if (rows == cols || !same_shape(tensor(t).shape, swapped)) return codes(cols);
    const bool gate_up = b.part == ExpertPart::kStackedGateUp;
    return BindingFault{
        FaultKind::kWrongShape,
        p,
        t,
        fmt::format("{} is transposed: stored {}, expected {} (it is {}, not {})", report_.stored_name(t),
                    gate_up ? "[E, D, 2*width]" : "[E, width, D]", gate_up ? "[E, 2*width, D]" : "[E, D, width]",
                    shape_text(tensor(t).shape), shape_text(std::array<std::uint64_t, 3>{experts, rows, cols})),
        std::nullopt,
        true};
  }
  const bool fp8 = dtype == Dtype::kF8E4M3;
  if (!fp8 && !is_byte(dtype) && dtype != Dtype::kF4) {
    return BindingFault{FaultKind::kWrongDtype,
                        p,
                        t,
                        fmt::format("{} is {}; BF16, F16, F32, F8_E4M3 or packed FP4 is expected",
                                    report_.stored_name(t), dtype_name(dtype)),
                        std::nullopt,
                        false};
  }
  b.form = fp8 ? StorageForm::kFp8Block : StorageForm::kMxfp4;
  if (!fp8) b.group_size = 32;
  if (auto fault = codes(fp8 || dtype == Dtype::kF4 ? cols : ceil_div(cols, 2))) return fault;
  const auto s = b.tensor(Component::kWeightScaleInv);
  if (!s) {
    return BindingFault{FaultKind::kMissingCompanion,
                        p,
                        t,
                        fmt::format("stored as {} ({}) but {}_scale_inv is not in the checkpoint",
                                    storage_form_name(b.form), dtype_name(dtype), report_.stored_name(t)),
                        Component::kWeightScaleInv,
                        false};
  }
  const Dtype scale = tensor(*s).dtype;
  if (scale != Dtype::kF8E8M0 && scale != Dtype::kU8 && !(fp8 && is_plain_float(scale))) {
    return BindingFault{FaultKind::kWrongCompanion,
                        p,
                        *s,
                        fmt::format("{} is {}; F8_E8M0 is expected", report_.stored_name(*s), dtype_name(scale)),
                        std::nullopt,
                        false};
  }
  // w1 and w3 share no block of scales where the width is a multiple of the block's rows.
  const std::uint64_t block_rows = fp8 ? block_rows_ : 1;
  return misfit(
      *s, FaultKind::kWrongCompanion,
      {experts, b.part == ExpertPart::kStackedGateUp ? 2 * (rows / 2 / block_rows) : ceil_div(rows, block_rows),
       ceil_div(cols, fp8 ? block_cols_ : 32)},
      fmt::format("a scale for each {} of a stack",
                  fp8 ? fmt::format("{}x{} block", block_rows_, block_cols_) : std::string("32 columns")));
}

void Resolver::resolve_packed(ParameterId p, Binding& b) {
  const TensorId t = *b.tensor(Component::kWeightPacked);
  const ParameterShape& shape = parameter(p).shape;
  const std::uint64_t out = shape.dims[0];
  const std::uint64_t in = shape.dims[1];
  if (const auto weight = b.tensor(Component::kWeight)) {
    fault(FaultKind::kBoundTwice, p, weight,
          fmt::format("stored twice, as {} and as {}", report_.stored_name(*weight), report_.stored_name(t)));
    use(*weight, TensorUse::kUnusedDuplicate);
    b.tensors[static_cast<std::size_t>(Component::kWeight)] = -1;
    return;
  }
  if (tensor(t).dtype == Dtype::kI32) {
    b.form = StorageForm::kW4A16;
    expect_shape(p, t, {out, ceil_div(in, 8)}, FaultKind::kWrongShape, "its W4A16 form, eight nibbles to an I32,");
    if (const auto s = need(p, b, Component::kWeightScale)) {
      expect_dtype(p, *s, is_plain_float(tensor(*s).dtype), FaultKind::kWrongCompanion, "BF16, F16 or F32");
      const auto& have = tensor(*s).shape;
      if (have.size() != 2 || have[0] != out || have[1] == 0 || in % have[1] != 0) {
        fault(FaultKind::kWrongCompanion, p, *s,
              fmt::format("{} is {}, but a scale for each group of a row is [{}, {} / group size]",
                          report_.stored_name(*s), shape_text(have), out, in));
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

void Resolver::expect_fp4_shape(ParameterId p, TensorId t, std::uint64_t out, std::uint64_t in) {
  if (tensor(t).dtype == Dtype::kF4) {
    expect_shape(p, t, {out, in}, FaultKind::kWrongShape, "its FP4 form");
  } else {
    expect_shape(p, t, {out, ceil_div(in, 2)}, FaultKind::kWrongShape, "its FP4 form, two codes to a byte,");
  }
}

void Resolver::expect_nvfp4_scale(ParameterId p, TensorId t, std::uint64_t out, std::uint64_t in) {
  expect_dtype(p, t, tensor(t).dtype == Dtype::kF8E4M3, FaultKind::kWrongCompanion, "F8_E4M3");
  expect_shape(p, t, {out, ceil_div(in, 16)}, FaultKind::kWrongCompanion, "an NVFP4 scale, one for 16 columns,");
}

void Resolver::expect_scalar(ParameterId p, TensorId t) {
  expect_dtype(p, t, tensor(t).dtype == Dtype::kF32, FaultKind::kWrongCompanion, "F32");
  const auto& shape = tensor(t).shape;
  if (shape.empty() || (shape.size() == 1 && shape[0] == 1)) return;
  fault(
      FaultKind::kWrongCompanion, p, t,
      fmt::format("{} is {}, but a global scale is one number, [] or [1]", report_.stored_name(t), shape_text(shape)));
}

void Resolver::resolve_weight(ParameterId p, Binding& b) {
  const TensorId t = *b.tensor(Component::kWeight);
  const std::uint64_t out = parameter(p).shape.dims[0];
  const std::uint64_t in = parameter(p).shape.dims[1];
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
      expect_dtype(p, s, is_plain_float(d) || d == Dtype::kF8E8M0 || d == Dtype::kU8, FaultKind::kWrongCompanion,
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
      expect_dtype(p, s, tensor(s).dtype == Dtype::kF8E8M0 || tensor(s).dtype == Dtype::kU8, FaultKind::kWrongCompanion,
                   "F8_E8M0: the scale of FP4 codes is an exponent, not a number to cast,");
      expect_shape(p, s, {out, ceil_div(in, 32)}, FaultKind::kWrongCompanion, "an MXFP4 scale, one for 32 columns,");
      release(b, {Component::kWeight, *c}, TensorUse::kUnusedStray, p, true);
    }
  } else {
    expect_dtype(p, t, false, FaultKind::kWrongDtype, "BF16, F16, F32, F8_E4M3 or packed FP4");
  }
}

std::optional<Component> Resolver::only_scale(ParameterId p, Binding& b) {
  std::optional<Component> found;
  for (const Component c : {Component::kScale, Component::kWeightScale, Component::kWeightScaleInv}) {
    const auto t = b.tensor(c);
    if (!t) continue;
    if (found) {
      use(*t, TensorUse::kUnusedDuplicate);
      fault(FaultKind::kBoundTwice, p, *t,
            fmt::format("has two scales, {} and {}", report_.stored_name(*b.tensor(*found)), report_.stored_name(*t)));
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

void Resolver::check_truncation(ParameterId p, const Binding& b) {
  for (const std::int32_t i : b.tensors) {
    if (i < 0) continue;
    const auto t = static_cast<TensorId>(i);
    const ShardFile& file = report_.checkpoint->files()[tensor(t).file];
    if (file.data_start + tensor(t).end <= file.file_bytes) continue;
    if (b.part != ExpertPart::kNone && (parameter(p).expert != 0 || parameter(p).slot == Slot::kExpertW3)) continue;
    fault(FaultKind::kTruncated, p, t,
          fmt::format("{} should end at byte {} of {}, which has only {}", report_.stored_name(t),
                      file.data_start + tensor(t).end, file.name, file.file_bytes));
  }
}

}  // namespace outrider
