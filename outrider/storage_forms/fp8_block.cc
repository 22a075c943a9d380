// FP8 with a scale per block of 128x128: the form of linears in the releases (deepseek-ai/DeepSeek-V3,
// inference/fp8_cast_bf16.py; vLLM's Fp8LinearMethod with weight_block_size).

#include <algorithm>
#include <array>

#include "outrider/storage_forms/forms.h"
#include "outrider/storage_forms/scaled_group.h"
#include "outrider/storage_forms/stored_matrix.h"

namespace outrider {
namespace {

constexpr FormTensor kTensors[] = {
    {.role = TensorRole::kCodes,
     .component = Component::kWeight,
     .dtypes = {Dtype::kF8E4M3},
     .shape = [](const WeightShape& w) -> std::optional<TensorShape> { return matrix_shape(w.rows, w.cols); },
     .written = Dtype::kF8E4M3},
    {.role = TensorRole::kScale,
     .component = Component::kScale,
     .dtypes = {Dtype::kF8E8M0, Dtype::kU8, Dtype::kF32, Dtype::kBF16, Dtype::kF16},
     .dtypes_text = "F8_E8M0, F32 or BF16",
     .shape = [](const WeightShape& w) -> std::optional<TensorShape> {
       return matrix_shape(ceil_div(w.rows, w.block.rows), ceil_div(w.cols, w.block.cols));
     },
     .shape_text = "a scale for each {rows}x{cols} block",
     .written = Dtype::kF32},
};

bool has_names(const ComponentSet& names, bool /*expert*/) {
  return std::ranges::any_of(kScaleSpellings, [&](Component c) { return names[c]; });
}

EncodingError encode_fp8(const TargetForm& form, const ValueRows& rows, std::span<std::vector<std::byte>> out) {
  constexpr std::size_t kBlock = kEncodedRows;
  EncodingError error;
  const std::size_t block_cols = ceil_div(rows.cols, kBlock);
  for (std::size_t r = 0; r < rows.count; r += kBlock) {
    for (std::size_t b = 0; b < block_cols; ++b) {
      const Group group{rows.row(r) + b * kBlock, rows.stride, std::min(kBlock, rows.count - r),
                        std::min(kBlock, rows.cols - b * kBlock)};
      const float amax = group.amax();
      float scale = kScaleOfNothing;
      if (amax >= kNothing) {
        const float unclipped = amax / kE4m3Max;
        if (form.scale_dtype == Dtype::kF8E8M0) {
          const float above = rounded_scale(form.scale_dtype, unclipped);
          scale = group.best<E4m3>(std::array{above, above / 2});
        } else {
          scale = group.best<E4m3>(scales_around<6>(unclipped, 0.8F, 1.0F, form.scale_dtype));
        }
      }
      error.add(group.measured<E4m3>(scale));
      store_scale(out[1], (rows.first + r) / kBlock * block_cols + b, form.scale_dtype, scale);
      for (std::size_t i = 0; i < group.rows; ++i) {
        for (std::size_t c = 0; c < group.cols; ++c) {
          store(out[0], (rows.first + r + i) * rows.cols + b * kBlock + c,
                e4m3_code(group.values[i * rows.stride + c] / scale));
        }
      }
    }
  }
  return error;
}

}  // namespace

constinit const StorageFormSpec kFp8BlockForm = {
    .form = StorageForm::kFp8Block,
    .name = "FP8 block",
    .short_name = "fp8",
    .released = true,
    .stacks = true,
    .rounding_error = 0.06,
    .tensors = kTensors,
    .codes_text = "F8_E4M3",
    .code_bits = 8,
    .grid = ScaleGrid::kBlocks,
    .has_names = has_names,
    .description = {.name = "FP8 block",
                    .format = "float-quantized",
                    .weights = {.num_bits = 8, .type = "float", .strategy = "block"},
                    .fp8_activations = true,
                    .is_group = [](const QuantizationArgs& a) { return a.num_bits == 8 && a.type == "float"; },
                    .is_algorithm = [](std::string_view name) { return name.starts_with("FP8"); },
                    .expert_dtype = "fp8"},
    .row_codes = [](Dtype) { return RowCodes::kE4m3; },
    .rounds_activations = true,
    .decode = decode_e4m3,
    .encode_rows = encode_fp8,
};

}  // namespace outrider
