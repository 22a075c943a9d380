#include "outrider/binding/resolver.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

namespace outrider {
namespace {

constexpr ComponentSet set_of(std::initializer_list<Component> components) {
  ComponentSet out{};
  for (const Component c : components) out[c] = true;
  return out;
}

// The components that a weight of a form is read from.
ComponentSet components_of(const StorageFormSpec& spec) {
  ComponentSet out{};
  for (const FormTensor& part : spec.tensors) {
    if (part.role == TensorRole::kScale) {
      for (const Component c : kScaleSpellings) out[c] = true;
    } else {
      out[part.component] = part.role != TensorRole::kActivationScale;
    }
  }
  return out;
}

// "I32 (W4A16) or U8 (NVFP4)": the codes that forms have under a name.
std::string known_codes(Component component, bool stacked) {
  std::vector<std::string_view> texts;
  for (const StorageFormSpec* spec : storage_forms()) {
    const bool known = spec->codes().component == component && (spec->stacks || !stacked);
    if (known && !spec->codes_text.empty()) texts.push_back(spec->codes_text);
  }
  const std::string_view last = texts.back();
  texts.pop_back();
  return fmt::format("{} or {}", fmt::join(texts, ", "), last);
}

// Elements of a row that share a scale by the columns of the scales; 0 where these do not divide the row.
std::uint32_t group_size_of(std::span<const std::uint64_t> scales, std::uint64_t out, std::uint64_t in) {
  if (scales.size() != 2 || scales[0] != out || scales[1] == 0 || in % scales[1] != 0) return 0;
  return static_cast<std::uint32_t>(in / scales[1]);
}

}  // namespace

Resolver::Resolver(BindingReport& report) : report_(report), fp8_block_(report.manifest->config().fp8_block()) {
  const std::vector<ShardFile>& files = report.checkpoint->files();
  any_truncated_ = std::any_of(files.begin(), files.end(),
                               [](const ShardFile& file) { return file.expected_bytes > file.file_bytes; });
}

void Resolver::fault(FaultKind kind, ParameterId p, std::optional<TensorId> t, std::string detail,
                     std::optional<Component> companion) {
  faults.push_back({kind, p, t, std::move(detail), companion, false});
}

void Resolver::release(Binding& b, const ComponentSet& keep, TensorUse reason, ParameterId p, bool is_fault) {
  for (std::size_t i = 0; i < kComponentCount; ++i) {
    if (b.tensors[i] < 0 || keep.all[i]) continue;
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
            fmt::format("{} belongs to a weight that is stored as {}, which has no {}", report_.stored_name(t),
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
      fault(FaultKind::kMissing, p, std::nullopt, "the checkpoint has no tensor for this parameter");
    }
    return;
  }
  b.bound = true;
  if (report_.names_only) return resolve_names(p, b);
  const std::size_t before = faults.size();
  const bool linear = spec.storage == Storage::kLinear || spec.storage == Storage::kLinearNative;
  if (b.part != ExpertPart::kNone) {
    resolve_stacked(p, b);
  } else if (!linear) {
    resolve_unquantised(p, b);
  } else {
    resolve_linear(p, b);
  }
  if (any_truncated_) check_truncation(p, b);
  if (faults.size() != before) b.bound = false;
}

void Resolver::resolve_names(ParameterId p, Binding& b) {
  ComponentSet names{};
  for (std::size_t c = 0; c < kComponentCount; ++c) names.all[c] = b.tensors[c] >= 0;
  const StorageFormSpec& spec = form_of_names(names, parameter(p).spec().group == ModuleGroup::kExperts);
  b.form = spec.form;
  for (const FormTensor& part : spec.tensors) {
    if (part.role == TensorRole::kCompanion) need(p, b, part.component);
  }
  ComponentSet keep;
  keep.all.fill(true);
  keep[Component::kInputScale] = false;
  keep[Component::kInputGlobalScale] = false;
  release(b, keep, TensorUse::kUnusedStray, p, false);
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

void Resolver::transposed_fault(ParameterId p, TensorId t, std::string detail) {
  fault(FaultKind::kWrongShape, p, t, std::move(detail));
  faults.back().transposed = true;
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
        fmt::format("{} is {}, but according to config.json {} is {}", report_.stored_name(t), shape_text(have),
                    parameter(p).name(), shape_text(shape)));
  return false;
}

bool Resolver::expect_dtype(ParameterId p, TensorId t, bool allowed, FaultKind kind, std::string_view expected) {
  if (allowed) return true;
  fault(kind, p, t,
        fmt::format("{} is {}; expected {}", report_.stored_name(t), dtype_name(tensor(t).dtype), expected));
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
                 "I64 or I32 for a table of expert numbers");
  } else {
    expect_dtype(p, t, is_plain_float(dtype), FaultKind::kWrongDtype, "BF16, F16 or F32");
  }
  expect_parameter_shape(p, t);
  release(b, set_of({Component::kWeight}), TensorUse::kUnusedStray, p, true);
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
    if (first) faults.push_back(std::move(*fault));
  }
  const bool quantised = storage_form(b.form).quantised();
  release(b, set_of({Component::kWeight, quantised ? Component::kWeightScaleInv : Component::kWeight}),
          TensorUse::kUnusedStray, p, true);
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
  WeightTensors tensors{};
  tensors[Component::kWeight] = &tensor(t);
  const StorageFormSpec* spec = form_of_tensors(tensors, true);
  if (spec == nullptr) {
    return BindingFault{FaultKind::kWrongDtype,
                        p,
                        t,
                        fmt::format("{} is {}; {} is expected", report_.stored_name(t), dtype_name(dtype),
                                    known_codes(Component::kWeight, true)),
                        std::nullopt,
                        false};
  }
  b.form = spec->form;
  b.group_size = spec->group_size;
  const bool gate_up = b.part == ExpertPart::kStackedGateUp;
  const std::array<std::uint64_t, 3> swapped = {experts, cols, rows};
  if (!spec->quantised() && rows != cols && same_shape(tensor(t).shape, swapped)) {
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
  const ScaleBlock block = scale_block(*spec, fp8_block_, b.group_size);
  const auto codes = std::ranges::find_if(
      spec->tensors, [&](const FormTensor& part) { return part.role == TensorRole::kCodes && part.dtypes.has(dtype); });
  const std::uint64_t stored_cols = codes->shape({rows, cols, block})->dims[1];
  if (auto fault = misfit(t, FaultKind::kWrongShape, {experts, rows, stored_cols}, "the stack of all experts")) {
    return fault;
  }
  if (!spec->quantised()) return std::nullopt;
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
  if (!spec->scale()->dtypes.has(scale)) {
    return BindingFault{FaultKind::kWrongCompanion,
                        p,
                        *s,
                        fmt::format("{} is {}; expected F8_E8M0", report_.stored_name(*s), dtype_name(scale)),
                        std::nullopt,
                        false};
  }
  // w1 and w3 share no block of scales where the width is a multiple of the block's rows.
  return misfit(
      *s, FaultKind::kWrongCompanion,
      {experts, gate_up ? 2 * (rows / 2 / block.rows) : ceil_div(rows, block.rows), ceil_div(cols, block.cols)},
      fmt::format("a scale for each {} of a stack", block.rows != 1 ? fmt::format("{}x{} block", block.rows, block.cols)
                                                                    : fmt::format("{} columns", block.cols)));
}

void Resolver::resolve_linear(ParameterId p, Binding& b) {
  const TensorId codes = *b.tensor(has(b, Component::kWeightPacked) ? Component::kWeightPacked : Component::kWeight);
  if (const auto weight = b.tensor(Component::kWeight); weight && *weight != codes) {
    fault(FaultKind::kBoundTwice, p, weight,
          fmt::format("stored twice, as {} and as {}", report_.stored_name(*weight), report_.stored_name(codes)));
    use(*weight, TensorUse::kUnusedDuplicate);
    b.tensors[static_cast<std::size_t>(Component::kWeight)] = -1;
    return;
  }
  WeightTensors tensors{};
  for (std::size_t c = 0; c < kComponentCount; ++c) {
    if (b.tensors[c] >= 0) tensors.all[c] = &tensor(static_cast<TensorId>(b.tensors[c]));
  }
  const StorageFormSpec* spec = form_of_tensors(tensors);
  if (spec == nullptr) {
    expect_dtype(p, codes, false, FaultKind::kWrongDtype, known_codes(b.codes(), false));
    return;
  }
  b.form = spec->form;
  b.group_size = spec->group_size;
  const std::uint64_t out = parameter(p).shape.dims[0];
  const std::uint64_t in = parameter(p).shape.dims[1];
  if (spec->grid == ScaleGrid::kAnyGroups) {
    const TensorInfo* scales = tensors[spec->scale()->component];
    b.group_size = scales == nullptr ? 0 : group_size_of(scales->shape, out, in);
  }
  const WeightShape weight{out, in, scale_block(*spec, fp8_block_, b.group_size)};
  for (const FormTensor& part : spec->tensors) {
    const auto t = tensor_of(p, b, part);
    if (t) {
      expect_part(p, *t, part, weight);
    } else if (part.role == TensorRole::kScale) {
      return;
    }
  }
  release(b, components_of(*spec), TensorUse::kUnusedStray, p, true);
}

std::optional<TensorId> Resolver::tensor_of(ParameterId p, Binding& b, const FormTensor& part) {
  switch (part.role) {
    case TensorRole::kCodes: {
      const auto codes = b.tensor(part.component);
      return codes && part.dtypes.has(tensor(*codes).dtype) ? codes : std::nullopt;
    }
    case TensorRole::kScale: {
      const auto spelling = only_scale(p, b);
      return spelling ? b.tensor(*spelling) : std::nullopt;
    }
    case TensorRole::kCompanion:
      return need(p, b, part.component);
    case TensorRole::kOptional:
    case TensorRole::kActivationScale:
      break;
  }
  return b.tensor(part.component);
}

void Resolver::expect_part(ParameterId p, TensorId t, const FormTensor& part, const WeightShape& weight) {
  const bool codes = part.role == TensorRole::kCodes;
  const FaultKind kind = codes ? FaultKind::kWrongShape : FaultKind::kWrongCompanion;
  const auto shape = part.shape(weight);
  // Only the scales tell the size of groups.
  if (!shape && !is_scale_spelling(part.component)) return;
  expect_dtype(p, t, part.dtypes.has(tensor(t).dtype), kind, part.dtypes_text);
  if (part.shape_text.empty()) {
    expect_parameter_shape(p, t);
    return;
  }
  const std::span<const std::uint64_t> have = tensor(t).shape;
  const bool one_number = shape && shape->rank == 0;
  if (one_number && have.size() == 1 && have[0] == 1) return;
  if (shape && same_shape(have, shape->span())) return;
  const std::string want = one_number ? "one number, [] or [1]"
                           : shape    ? shape_text(shape->span())
                                      : fmt::format("[{}, {} / group size]", weight.rows, weight.cols);
  fault(kind, p, t,
        fmt::format("{} is {}, but {} is {}", report_.stored_name(t), shape_text(have),
                    fmt::format(fmt::runtime(part.shape_text), fmt::arg("rows", weight.block.rows),
                                fmt::arg("cols", weight.block.cols)),
                    want));
}

std::optional<Component> Resolver::only_scale(ParameterId p, Binding& b) {
  std::optional<Component> found;
  for (const Component c : kScaleSpellings) {
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
