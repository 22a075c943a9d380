#include "outrider/storage_forms/encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "outrider/util/error.h"

namespace outrider {

TargetForm usual_target(StorageForm form) {
  const StorageFormSpec& spec = storage_form(form);
  TargetForm out{form, spec.group_size};
  if (const FormTensor* scale = spec.scale(); scale != nullptr && scale->written) {
    out.scale = scale->component;
    out.scale_dtype = *scale->written;
  }
  return out;
}

void EncodingError::add(const EncodingError& other) {
  squared += other.squared;
  squared_values += other.squared_values;
  largest = std::max(largest, other.largest);
}

double EncodingError::relative() const {
  return squared_values > 0 ? std::sqrt(squared / squared_values) : 0;
}

std::vector<EncodedTensor> encoded_tensors(const TargetForm& form, std::uint64_t rows, std::uint64_t cols,
                                           std::string_view name) {
  const StorageFormSpec& spec = storage_form(form.form);
  const auto need = [&](std::uint64_t group) {
    if (group != 0 && cols % group == 0) return;
    throw Error(
        fmt::format("{}: rows of {} values cannot be divided into groups of {}. Choose another group_size, "
                    "or exclude these modules in a recipe file.",
                    name, cols, group));
  };
  const WeightShape shape{rows, cols, scale_block(spec, {kEncodedRows, kEncodedRows}, form.group_size)};
  if (spec.grid == ScaleGrid::kGroups || spec.grid == ScaleGrid::kAnyGroups) need(shape.block.cols);
  if (spec.code_bits != 0) need(dtype_bits(*spec.codes().written) / spec.code_bits);
  std::vector<EncodedTensor> out;
  for (const FormTensor& t : spec.tensors) {
    if (!t.written) continue;
    const bool named = t.role == TensorRole::kScale;
    // A scalar is written as [1].
    const TensorShape is = *t.shape(shape);
    std::vector<std::uint64_t> dims(is.span().begin(), is.span().end());
    if (dims.empty()) dims = {1};
    out.push_back({named ? form.scale : t.component, named ? form.scale_dtype : *t.written, std::move(dims)});
  }
  return out;
}

EncodingError encode_rows(const TargetForm& form, const ValueRows& rows, std::span<std::vector<std::byte>> out) {
  return storage_form(form.form).encode_rows(form, rows, out);
}

void encode_whole(const TargetForm& form, std::size_t rows, std::size_t cols, float amax,
                  std::span<std::vector<std::byte>> out) {
  const StorageFormSpec& spec = storage_form(form.form);
  if (spec.encode_whole != nullptr) spec.encode_whole(rows, cols, amax, out);
}

}  // namespace outrider
