// W4A16, compressed-tensors' pack-quantized: four-bit integers with a scale per group of a row.

#include <algorithm>
#include <cmath>
#include <vector>

#include "outrider/storage_forms/forms.h"
#include "outrider/storage_forms/fp4.h"
#include "outrider/storage_forms/stored_matrix.h"
#include "outrider/util/load.h"

namespace outrider {
namespace {

constexpr std::size_t kCodesPerWord = 8;

constexpr FormTensor kTensors[] = {
    {.role = TensorRole::kCodes,
     .component = Component::kWeightPacked,
     .dtypes = {Dtype::kI32},
     .shape = [](const WeightShape& w) -> std::optional<TensorShape> {
       return matrix_shape(w.rows, ceil_div(w.cols, kCodesPerWord));
     },
     .shape_text = "its W4A16 form, eight nibbles to an I32,",
     .written = Dtype::kI32},
    {.role = TensorRole::kCompanion,
     .component = Component::kWeightScale,
     .dtypes = {Dtype::kBF16, Dtype::kF16, Dtype::kF32},
     .dtypes_text = "BF16, F16 or F32",
     .shape = scale_of_each_group,
     .shape_text = "a scale for each group of a row",
     .written = Dtype::kBF16},
    {.role = TensorRole::kCompanion,
     .component = Component::kWeightShape,
     .dtypes = {Dtype::kI64, Dtype::kI32},
     .dtypes_text = "I64",
     .shape = [](const WeightShape&) -> std::optional<TensorShape> { return vector_shape(2); },
     .shape_text = "a weight's shape",
     .written = Dtype::kI64},
    {.role = TensorRole::kOptional,
     .component = Component::kWeightZeroPoint,
     .dtypes = {Dtype::kI32},
     .dtypes_text = "I32",
     .shape = [](const WeightShape& w) -> std::optional<TensorShape> {
       if (w.block.cols == 0) return std::nullopt;
       return matrix_shape(ceil_div(w.rows, kCodesPerWord), w.cols / w.block.cols);
     },
     .shape_text = "a packed zero point for each group"},
    {.role = TensorRole::kOptional,
     .component = Component::kWeightGIdx,
     .dtypes = {Dtype::kI32},
     .dtypes_text = "I32",
     .shape = [](const WeightShape& w) -> std::optional<TensorShape> { return vector_shape(w.cols); },
     .shape_text = "a group number for each column"},
};

// Offset binary: nibble - 8.
constexpr float kValues[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};

void read_companions(const MatrixTensors& tensors, StoredMatrix& m) {
  if (const auto& zero_points = tensors[Component::kWeightZeroPoint].bytes; !zero_points.empty()) {
    m.zero_points = zero_points.data();
  }
  const auto& groups = tensors[Component::kWeightGIdx].bytes;
  if (groups.empty()) return;
  m.groups.resize(m.cols);
  for (std::size_t i = 0; i < m.cols; ++i) m.groups[i] = load<std::uint32_t>(groups.data(), i);
  // All -1: written by quantizers that did not reorder columns.
  if (std::ranges::all_of(m.groups, [](std::uint32_t group) { return group == 0xffffffffU; })) m.groups.clear();
}

EncodingError encode_w4a16(const TargetForm& form, const ValueRows& rows, std::span<std::vector<std::byte>> out) {
  EncodingError error;
  const std::size_t groups = rows.cols / form.group_size;
  const std::size_t words = ceil_div(rows.cols, kCodesPerWord);
  for (std::size_t r = 0; r < rows.count; ++r) {
    const float* row = rows.row(r);
    std::vector<std::uint32_t> packed(words);
    for (std::size_t g = 0; g < groups; ++g) {
      const Group group{row + g * form.group_size, 0, 1, form.group_size};
      const float amax = group.amax();
      const float scale = amax >= kNothing ? group.best<Int4>(scales_around<20>(amax / 7.5F, 0.6F, 1.1F, Dtype::kBF16))
                                           : kScaleOfNothing;
      error.add(group.measured<Int4>(scale));
      store_scale(out[1], (rows.first + r) * groups + g, Dtype::kBF16, scale);
      for (std::size_t c = g * form.group_size; c < (g + 1) * form.group_size; ++c) {
        const float level = Int4::at(row[c], 1 / scale);
        // NaN is encoded as 0; `error` reports it.
        const auto code = static_cast<std::uint32_t>((std::isnan(level) ? 0 : static_cast<int>(level)) + 8);
        packed[c / kCodesPerWord] |= code << 4 * (c % kCodesPerWord);
      }
    }
    for (std::size_t w = 0; w < words; ++w) store(out[0], (rows.first + r) * words + w, packed[w]);
  }
  return error;
}

void encode_shape(std::uint64_t rows, std::uint64_t cols, float /*amax*/, std::span<std::vector<std::byte>> out) {
  store(out[2], 0, static_cast<std::int64_t>(rows));
  store(out[2], 1, static_cast<std::int64_t>(cols));
}

}  // namespace

constinit const StorageFormSpec kW4A16Form = {
    .form = StorageForm::kW4A16,
    .name = "W4A16",
    .short_name = "w4a16",
    .rounding_error = 0.25,
    .tensors = kTensors,
    .codes_text = "I32 (W4A16)",
    .code_bits = 4,
    .grid = ScaleGrid::kAnyGroups,
    .group_size = 128,
    .has_names = [](const ComponentSet& names, bool) { return names[Component::kWeightPacked]; },
    .description = {.name = "W4A16",
                    .format = "pack-quantized",
                    .weights = {.num_bits = 4, .type = "int", .strategy = "group"},
                    .is_group = [](const QuantizationArgs& a) { return a.num_bits == 4 && a.type == "int"; }},
    .row_codes = [](Dtype) { return RowCodes::kNibbles; },
    .code_values = kValues,
    .read_companions = read_companions,
    .decode = [](Dtype, const std::byte* codes, std::size_t first, std::size_t count, float offset, float scale,
                 float* out) { decode_nibbles(kValues, codes, first, count, offset, scale, out); },
    .encode_rows = encode_w4a16,
    .encode_whole = encode_shape,
};

}  // namespace outrider
