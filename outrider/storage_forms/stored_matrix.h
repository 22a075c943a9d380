#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "outrider/storage_forms/storage_form.h"

namespace outrider {

// The tensors of a weight matrix [rows, cols], in the artifact's storage form.
struct StoredMatrix {
  StorageForm form = StorageForm::kPlain;
  Dtype dtype = Dtype::kF32;  // for kPlain
  std::size_t rows = 0;
  std::size_t cols = 0;
  const std::byte* codes = nullptr;
  std::size_t row_bytes = 0;
  // Scales of blocks of block_rows x block_cols elements; all are multiplied by global_scale.
  const std::byte* scales = nullptr;
  Dtype scale_dtype = Dtype::kF32;
  std::size_t block_rows = 1;
  std::size_t block_cols = 1;
  float global_scale = 1;
  const std::byte* zero_points = nullptr;  // I32 [ceil(rows/8), groups], codes in nibbles, or null
  std::vector<std::uint32_t> groups;       // group of each column, if there is a weight_g_idx

  std::size_t scale_cols() const { return (cols + block_cols - 1) / block_cols; }
  // The first of `groups` that has no scales.
  std::optional<std::uint32_t> group_out_of_range() const;
};

// Builds the matrix from tensors of bound shapes. The caller must check group_out_of_range().
StoredMatrix stored_matrix(StorageForm form, const WeightShape& shape, const MatrixTensors& tensors);

// Decodes elements [col, col + count) of a row to floats: the definition of each form, element by element.
void decode(const StoredMatrix& matrix, std::size_t row, std::size_t col, std::size_t count, float* out);

// Decoders shared by forms (StorageFormSpec::decode).
void decode_e4m3(Dtype dtype, const std::byte* codes, std::size_t first, std::size_t count, float offset, float scale,
                 float* out);
void decode_e2m1(Dtype dtype, const std::byte* codes, std::size_t first, std::size_t count, float offset, float scale,
                 float* out);
// With a form's table of values.
void decode_nibbles(const float* values, const std::byte* codes, std::size_t first, std::size_t count, float offset,
                    float scale, float* out);

// The values of E2M1's codes, for StorageFormSpec::code_values.
inline constexpr float kE2m1Values[16] = {0.0F,  0.5F,  1.0F,  1.5F,  2.0F,  3.0F,  4.0F,  6.0F,
                                          -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};

}  // namespace outrider
