// BF16, F16 or F32, unquantised.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "outrider/checkpoint/number_formats.h"
#include "outrider/storage_forms/forms.h"
#include "outrider/storage_forms/scaled_group.h"
#include "outrider/util/load.h"

namespace outrider {
namespace {

constexpr FormTensor kTensors[] = {
    {.role = TensorRole::kCodes,
     .component = Component::kWeight,
     .dtypes = {Dtype::kBF16, Dtype::kF16, Dtype::kF32},
     .shape = [](const WeightShape& w) -> std::optional<TensorShape> { return matrix_shape(w.rows, w.cols); },
     .written = Dtype::kBF16},
};

RowCodes row_codes(Dtype dtype) {
  return dtype == Dtype::kBF16 ? RowCodes::kBf16 : dtype == Dtype::kF16 ? RowCodes::kF16 : RowCodes::kF32;
}

void decode_floats(Dtype dtype, const std::byte* codes, std::size_t first, std::size_t count, float /*offset*/,
                   float /*scale*/, float* out) {
  switch (dtype) {
    case Dtype::kF32:
      std::memcpy(out, codes + first * sizeof(float), count * sizeof(float));
      break;
    case Dtype::kBF16:
      for (std::size_t i = 0; i < count; ++i) out[i] = bf16_to_float(load<std::uint16_t>(codes, first + i));
      break;
    default:
      for (std::size_t i = 0; i < count; ++i) out[i] = f16_to_float(load<std::uint16_t>(codes, first + i));
  }
}

EncodingError encode_bf16(const TargetForm& /*form*/, const ValueRows& rows, std::span<std::vector<std::byte>> out) {
  EncodingError error;
  for (std::size_t r = 0; r < rows.count; ++r) {
    for (std::size_t c = 0; c < rows.cols; ++c) {
      const float x = rows.row(r)[c];
      const float d = std::fabs(round_to_bf16(x) - x);
      store(out[0], (rows.first + r) * rows.cols + c, float_to_bf16(x));
      error.squared += static_cast<double>(d) * d;
      error.squared_values += static_cast<double>(x) * x;
      error.largest = std::max(error.largest, d);
    }
  }
  return error;
}

}  // namespace

constinit const StorageFormSpec kPlainForm = {
    .form = StorageForm::kPlain,
    .name = "plain",
    .short_name = "bf16",
    .released = true,
    .stacks = true,
    .rounding_error = 0.01,
    .tensors = kTensors,
    .codes_text = "BF16, F16, F32",
    .description = {.name = "unquantised"},
    .row_codes = row_codes,
    .decode = decode_floats,
    .encode_rows = encode_bf16,
};

}  // namespace outrider
