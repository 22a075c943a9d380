#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "outrider/storage_forms/scaled_group.h"
#include "outrider/storage_forms/storage_form.h"

namespace outrider {

// Shared by the forms with E2M1 codes in groups of a row.

inline constexpr DtypeSet kFp4Bytes = {Dtype::kI8, Dtype::kU8};

// Two codes per byte.
inline std::optional<TensorShape> fp4_bytes(const WeightShape& w) {
  return matrix_shape(w.rows, ceil_div(w.cols, 2));
}
// One code per element: F4.
inline std::optional<TensorShape> fp4_elements(const WeightShape& w) {
  return matrix_shape(w.rows, w.cols);
}
inline std::optional<TensorShape> scale_of_each_group(const WeightShape& w) {
  if (w.block.cols == 0) return std::nullopt;
  return matrix_shape(w.rows, ceil_div(w.cols, w.block.cols));
}
inline std::optional<TensorShape> one_number(const WeightShape& /*w*/) {
  return TensorShape{};
}
inline constexpr std::string_view kFp4BytesText = "its FP4 form, two codes to a byte,";
inline constexpr std::string_view kFp4ElementsText = "its FP4 form";

// Encodes rows in groups of `group_size`. scale_of(group) returns a group's scale, write_scale(index, scale) stores it.
template <typename ScaleOf, typename WriteScale>
EncodingError encode_e2m1(const ValueRows& rows, std::size_t group_size, std::vector<std::byte>& codes,
                          const ScaleOf& scale_of, const WriteScale& write_scale) {
  EncodingError error;
  const std::size_t groups = rows.cols / group_size;
  for (std::size_t r = 0; r < rows.count; ++r) {
    for (std::size_t g = 0; g < groups; ++g) {
      const Group group{rows.row(r) + g * group_size, 0, 1, group_size};
      const float scale = scale_of(group);
      error.add(group.measured<E2m1>(scale));
      write_scale((rows.first + r) * groups + g, scale);
      for (std::size_t c = 0; c < group_size; ++c) {
        store_nibble(codes, (rows.first + r) * rows.cols + g * group_size + c, e2m1_code(group.values[c] / scale));
      }
    }
  }
  return error;
}

}  // namespace outrider
