#include "outrider/check/parameter_values.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "outrider/check/value_scan.h"
#include "outrider/checkpoint/number_formats.h"
#include "outrider/util/load.h"

namespace outrider {
namespace {

const std::array<float, 256>& e4m3_values() {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> out;
    for (unsigned code = 0; code < 256; ++code) out[code] = e4m3_to_float(static_cast<std::uint8_t>(code));
    return out;
  }();
  return values;
}

}  // namespace

std::optional<ParameterValues> ParameterValues::of(const BindingReport& binding, const TensorData& data,
                                                   ParameterId id) {
  const Binding& b = binding.bindings[id];
  const Parameter& parameter = (*binding.manifest)[id];
  if (!b.bound || parameter.spec().storage == Storage::kInteger) return std::nullopt;
  for (const std::int32_t t : b.tensors) {
    if (t >= 0 && !data.readable(binding.tensor(static_cast<TensorId>(t)))) return std::nullopt;
  }
  const Component codes = b.codes();
  const TensorSlice slice = binding.slice(id, codes);
  const TensorInfo& tensor = binding.tensor(slice.tensor);
  ParameterValues out(data, tensor);
  out.begin_ = slice.begin;
  out.form_ = b.form;
  out.rows_ = parameter.shape.rank == 2 ? parameter.shape.dims[0] : 1;
  out.cols_ = parameter.shape.rank == 2 ? parameter.shape.dims[1] : parameter.shape.dims[0];
  if (out.elements() == 0 || slice.bytes % out.rows_ != 0) return std::nullopt;
  out.row_bytes_ = slice.bytes / out.rows_;
  if (b.form == StorageForm::kPlain) {
    if (!is_plain_float(tensor.dtype) || out.row_bytes_ != out.cols_ * dtype_bits(tensor.dtype) / 8)
      return std::nullopt;
    return out;
  }

  const auto whole = [&](Component c) -> const std::byte* {
    const auto t = b.tensor(c);
    return t ? data.piece(binding.tensor(*t), 0, binding.tensor(*t).bytes()).data() : nullptr;
  };
  for (const Component c : {Component::kScale, Component::kWeightScale, Component::kWeightScaleInv}) {
    if (!b.tensor(c)) continue;
    out.scales_ = &binding.tensor(*b.tensor(c));
    out.scale_bytes_ = whole(c);
  }
  if (out.scales_ == nullptr || out.scales_->shape.size() != 2) return std::nullopt;
  out.scale_cols_ = out.scales_->shape[1];
  out.block_cols_ = b.group_size;
  if (b.form == StorageForm::kFp8Block) {
    const auto [rows, cols] = binding.manifest->config().fp8_block();
    out.block_rows_ = rows;
    out.block_cols_ = cols;
  }
  if (out.block_rows_ == 0 || out.block_cols_ == 0) return std::nullopt;
  if (const std::byte* at = whole(Component::kWeightGlobalScale)) out.global_scale_ = 1 / load<float>(at);
  if (const std::byte* at = whole(Component::kWeightScale2)) out.global_scale_ = load<float>(at);
  out.zero_points_ = whole(Component::kWeightZeroPoint);
  if (const std::byte* at = whole(Component::kWeightGIdx)) {
    out.groups_.resize(out.cols_);
    for (std::uint64_t i = 0; i < out.cols_; ++i) out.groups_[i] = load<std::uint32_t>(at + 4 * i);
    // All -1: written by quantizers that did not reorder.
    if (std::ranges::all_of(out.groups_, [](std::uint32_t g) { return g == 0xffffffffU; })) out.groups_.clear();
    if (std::ranges::any_of(out.groups_, [&](std::uint32_t g) { return g >= out.scale_cols_; })) return std::nullopt;
  }
  return out;
}

float ParameterValues::scale(std::uint64_t at) const {
  switch (scales_->dtype) {
    case Dtype::kF8E8M0:
    case Dtype::kU8:
      return e8m0_to_float(static_cast<std::uint8_t>(scale_bytes_[at]));
    case Dtype::kF8E4M3:
      return e4m3_values()[static_cast<std::uint8_t>(scale_bytes_[at])];
    default:
      return load_float(scales_->dtype, scale_bytes_ + at * dtype_bits(scales_->dtype) / 8);
  }
}

void ParameterValues::read_row(std::uint64_t row, std::uint64_t col, std::uint64_t count, float* out) const {
  const std::byte* codes = data_->piece(*codes_, begin_ + row * row_bytes_, row_bytes_).data();
  if (form_ == StorageForm::kPlain) {
    const std::uint64_t size = dtype_bits(codes_->dtype) / 8;
    const std::byte* at = codes + col * size;
    switch (codes_->dtype) {
      case Dtype::kF32:
        std::memcpy(out, at, count * size);
        return;
      case Dtype::kBF16:
        for (std::uint64_t i = 0; i < count; ++i) out[i] = bf16_to_float(load<std::uint16_t>(at + 2 * i));
        return;
      default:
        for (std::uint64_t i = 0; i < count; ++i) out[i] = f16_to_float(load<std::uint16_t>(at + 2 * i));
        return;
    }
  }
  const std::array<float, 256>& e4m3 = e4m3_values();
  for (std::uint64_t i = 0; i < count;) {
    const std::uint64_t group = groups_.empty() ? (col + i) / block_cols_ : groups_[col + i];
    const std::uint64_t end =
        groups_.empty() ? std::min(count, (group + 1) * block_cols_ - col) : i + 1;  // columns with this scale
    const float factor = scale(row / block_rows_ * scale_cols_ + group) * global_scale_;
    float zero = 8;
    if (zero_points_ != nullptr) {
      const std::uint32_t word = load<std::uint32_t>(zero_points_ + 4 * (row / 8 * scale_cols_ + group));
      zero = static_cast<float>(word >> (row % 8 * 4) & 15U);
    }
    for (; i < end; ++i) {
      const std::uint64_t c = col + i;
      if (form_ == StorageForm::kFp8Block) {
        out[i] = e4m3[static_cast<std::uint8_t>(codes[c])] * factor;
        continue;
      }
      const auto nibble = static_cast<std::uint8_t>(static_cast<std::uint8_t>(codes[c / 2]) >> (c % 2 * 4) & 15U);
      out[i] = (form_ == StorageForm::kW4A16 ? static_cast<float>(nibble) - zero : e2m1_to_float(nibble)) * factor;
    }
  }
}

void ParameterValues::read(std::uint64_t begin, std::uint64_t count, float* out) const {
  while (count != 0) {
    const std::uint64_t col = begin % cols_;
    const std::uint64_t here = std::min(count, cols_ - col);
    read_row(begin / cols_, col, here, out);
    begin += here;
    count -= here;
    out += here;
  }
}

void ParameterValues::drop(std::uint64_t begin, std::uint64_t count) const {
  // Rows shared with the next piece are read again.
  const std::uint64_t first = begin / cols_ * row_bytes_;
  data_->drop(*codes_, begin_ + first, (begin + count) / cols_ * row_bytes_ - first);
}

}  // namespace outrider
