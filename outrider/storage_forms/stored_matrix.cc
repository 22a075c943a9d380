#include "outrider/storage_forms/stored_matrix.h"

#include <algorithm>
#include <cstring>

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

float stored_scale(const StoredMatrix& m, std::size_t at) {
  switch (m.scale_dtype) {
    case Dtype::kF32:
      return load<float>(m.scales, at);
    case Dtype::kBF16:
      return bf16_to_float(load<std::uint16_t>(m.scales, at));
    case Dtype::kF16:
      return f16_to_float(load<std::uint16_t>(m.scales, at));
    case Dtype::kF8E4M3:
      return e4m3_values()[static_cast<std::uint8_t>(m.scales[at])];
    default:  // F8_E8M0, also as U8
      return e8m0_to_float(static_cast<std::uint8_t>(m.scales[at]));
  }
}

}  // namespace

std::optional<std::uint32_t> StoredMatrix::group_out_of_range() const {
  const auto found = std::ranges::find_if(groups, [&](std::uint32_t group) { return group >= scale_cols(); });
  return found == groups.end() ? std::nullopt : std::optional(*found);
}

StoredMatrix stored_matrix(StorageForm form, const WeightShape& shape, const MatrixTensors& tensors) {
  const StorageFormSpec& spec = storage_form(form);
  StoredMatrix m;
  m.form = form;
  m.rows = shape.rows;
  m.cols = shape.cols;
  const StoredTensor& codes = tensors[spec.codes().component];
  m.dtype = codes.dtype;
  m.codes = codes.bytes.data();
  m.row_bytes = codes.bytes.size() / m.rows;
  if (spec.grid == ScaleGrid::kNone) return m;
  for (const Component c : kScaleSpellings) {
    if (tensors[c].bytes.empty()) continue;
    m.scales = tensors[c].bytes.data();
    m.scale_dtype = tensors[c].dtype;
  }
  m.block_rows = shape.block.rows;
  m.block_cols = shape.block.cols;
  if (spec.read_companions != nullptr) spec.read_companions(tensors, m);
  return m;
}

void decode(const StoredMatrix& m, std::size_t row, std::size_t col, std::size_t count, float* out) {
  const StorageFormSpec& spec = storage_form(m.form);
  const std::byte* codes = m.codes + row * m.row_bytes;
  if (spec.grid == ScaleGrid::kNone) return spec.decode(m.dtype, codes, col, count, 0, 1, out);
  for (std::size_t i = 0; i < count;) {
    const std::size_t group = m.groups.empty() ? (col + i) / m.block_cols : m.groups[col + i];
    // The columns up to `end` share this scale.
    const std::size_t end = m.groups.empty() ? std::min(count, (group + 1) * m.block_cols - col) : i + 1;
    const float scale = stored_scale(m, row / m.block_rows * m.scale_cols() + group) * m.global_scale;
    float offset = 0;
    if (m.zero_points != nullptr) {
      const auto word = load<std::uint32_t>(m.zero_points, row / 8 * m.scale_cols() + group);
      offset = spec.code_values[word >> (4 * (row % 8)) & 15U];
    }
    spec.decode(m.dtype, codes, col + i, end - i, offset, scale, out + i);
    i = end;
  }
}

void decode_e4m3(Dtype /*dtype*/, const std::byte* codes, std::size_t first, std::size_t count, float /*offset*/,
                 float scale, float* out) {
  const std::array<float, 256>& values = e4m3_values();
  for (std::size_t i = 0; i < count; ++i) out[i] = values[static_cast<std::uint8_t>(codes[first + i])] * scale;
}

void decode_e2m1(Dtype /*dtype*/, const std::byte* codes, std::size_t first, std::size_t count, float offset,
                 float scale, float* out) {
  decode_nibbles(kE2m1Values, codes, first, count, offset, scale, out);
}

void decode_nibbles(const float* values, const std::byte* codes, std::size_t first, std::size_t count, float offset,
                    float scale, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t c = first + i;
    const unsigned nibble = static_cast<unsigned>(codes[c / 2]) >> (c % 2 * 4) & 15U;
    out[i] = (values[nibble] - offset) * scale;
  }
}

}  // namespace outrider
