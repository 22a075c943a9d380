#include "outrider/backend/linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "outrider/util/error.h"
#include "outrider/util/load.h"

namespace outrider {

Linear::Linear(const Weights& weights, ParameterId id) {
  const CompletePlan& plan = weights.plan();
  const Parameter& parameter = plan.manifest()[id];
  const Binding& binding = plan.binding(id);
  WeightShape shape{parameter.shape.dims[0], parameter.shape.dims[1],
                    scale_block(storage_form(binding.form), plan.manifest().config().fp8_block(), binding.group_size)};
  if (parameter.shape.rank == 1) shape = {1, parameter.shape.dims[0], shape.block};
  MatrixTensors tensors;
  for (std::size_t c = 0; c < kComponentCount; ++c) {
    const auto component = static_cast<Component>(c);
    if (const auto t = binding.tensor(component)) {
      tensors[component] = {weights.bytes(id, component), plan.report().tensor(*t).dtype};
    }
  }
  *this = Linear(stored_matrix(binding.form, shape, tensors));
  if (const auto group = m_.group_out_of_range()) {
    throw Error(
        fmt::format("{}: {} refers to group {}, but there are {} groups. The file is damaged; download it again.",
                    parameter.name(), plan.report().stored_name(*binding.tensor(Component::kWeightGIdx)),
                    static_cast<std::int32_t>(*group), m_.scale_cols()));
  }
}

Linear::Linear(StoredMatrix matrix) : m_(std::move(matrix)) {
  const StorageFormSpec& spec = storage_form(m_.form);
  codes_ = spec.row_codes(m_.dtype);
  values_ = spec.code_values;
}

const LaneOrder* Linear::takes_order(const Kernels& kernels) const {
  if (m_.cols % kLanes != 0) return nullptr;
  if (codes_ == RowCodes::kNibbles && group() % kLanes != 0 && group() != kLanes / 2) return nullptr;
  return lane_order(kernels, codes_);
}

bool Linear::taken_by(const ConvertedProducts* products) const {
  return products != nullptr && products->takes(codes_, group(), m_.zero_points != nullptr, m_.cols);
}

void Linear::decode(const Kernels& kernels, std::size_t row, float* out, std::vector<float>& scratch) const {
  const std::byte* codes = m_.codes + row * m_.row_bytes;
  std::fill(out + m_.cols, out + padded(m_.cols), 0.0F);
  switch (codes_) {
    case RowCodes::kF32:
      std::memcpy(out, codes, m_.cols * sizeof(float));
      return;
    case RowCodes::kBf16:
      return kernels.bf16(codes, m_.cols, out);
    case RowCodes::kF16:
      return kernels.f16(codes, m_.cols, out);
    case RowCodes::kE4m3:
    case RowCodes::kNibbles:
      break;
  }
  const StoredRows rows = stored(kernels, row, 1, scratch);
  if (codes_ == RowCodes::kE4m3) return kernels.e4m3(codes, rows.scales, rows.group, m_.cols, out);
  kernels.nibbles(codes, rows.values, rows.scales, rows.offsets, rows.group, m_.cols, out);
}

StoredRows Linear::stored(const Kernels& kernels, std::size_t row, std::size_t count,
                          std::vector<float>& scratch) const {
  StoredRows rows;
  rows.codes = m_.codes + row * m_.row_bytes;
  rows.row_bytes = m_.row_bytes;
  rows.form = codes_;
  if (storage_form(m_.form).grid == ScaleGrid::kNone) return rows;
  rows.values = values_;
  rows.group = group();
  const std::size_t step = scale_count();
  const std::size_t all = count * step;
  if (scratch.size() < 2 * all) scratch.resize(2 * all);
  rows.scales = scratch.data();
  rows.scale_step = step;
  if (row / m_.block_rows == (row + count - 1) / m_.block_rows) {  // all rows share their scales
    rows.scale_step = count == 1 ? step : 0;
    decode_scales(kernels, row / m_.block_rows, 1, scratch.data());
  } else if (m_.block_rows == 1) {
    decode_scales(kernels, row, count, scratch.data());
  } else {
    for (std::size_t r = 0; r < count; ++r) {
      decode_scales(kernels, (row + r) / m_.block_rows, 1, scratch.data() + r * step);
    }
  }
  if (m_.zero_points == nullptr) return rows;
  rows.offsets = scratch.data() + all;
  for (std::size_t r = 0; r < count; ++r) decode_offsets(row + r, scratch.data() + all + r * step);
  return rows;
}

void Linear::decode_scales(const Kernels& kernels, std::size_t block_row, std::size_t count, float* scales) const {
  const std::size_t cols = m_.scale_cols();
  if (!m_.groups.empty()) {
    std::vector<float> by_group(count * cols);
    decode_scales(kernels, block_row * cols, by_group);
    for (std::size_t r = 0; r < count; ++r) {
      for (std::size_t i = 0; i < m_.cols; ++i) scales[r * m_.cols + i] = by_group[r * cols + m_.groups[i]];
    }
    return;
  }
  decode_scales(kernels, block_row * cols, {scales, count * cols});
}

void Linear::decode_scales(const Kernels& kernels, std::size_t first, std::span<float> scales) const {
  switch (m_.scale_dtype) {
    case Dtype::kF32:
      std::memcpy(scales.data(), m_.scales + first * sizeof(float), scales.size_bytes());
      break;
    case Dtype::kBF16:
      kernels.bf16(m_.scales + 2 * first, scales.size(), scales.data());
      break;
    case Dtype::kF16:
      kernels.f16(m_.scales + 2 * first, scales.size(), scales.data());
      break;
    case Dtype::kF8E4M3: {
      constexpr float kOne = 1;
      kernels.e4m3(m_.scales + first, &kOne, scales.size(), scales.size(), scales.data());
      break;
    }
    default:  // F8_E8M0, also as U8
      kernels.e8m0(m_.scales + first, scales.size(), scales.data());
  }
  if (m_.global_scale == 1) return;
  for (float& v : scales) v *= m_.global_scale;
}

std::uint64_t Linear::bytes(std::size_t rows) const {
  const std::size_t scales =
      m_.scales == nullptr ? 0 : m_.scale_cols() * dtype_bits(m_.scale_dtype) / 8 / m_.block_rows;
  return static_cast<std::uint64_t>(rows) * (m_.row_bytes + scales);
}

void Linear::decode_offsets(std::size_t row, float* offsets) const {
  const std::size_t count = scale_count();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t group = m_.groups.empty() ? i : m_.groups[i];
    const auto word = load<std::uint32_t>(m_.zero_points, row / 8 * m_.scale_cols() + group);
    offsets[i] = values_[word >> (4 * (row % 8)) & 15U];
  }
}

}  // namespace outrider
