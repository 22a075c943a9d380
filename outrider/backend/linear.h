#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/binding/weights.h"
#include "outrider/kernels/kernels.h"
#include "outrider/storage_forms/stored_matrix.h"

namespace outrider {

// A weight matrix [rows, cols] = [out, in], read directly from the mapped file.
class Linear {
 public:
  Linear() = default;
  // Throws Error if a table beside the codes (weight_g_idx) refers outside the matrix.
  Linear(const Weights& weights, ParameterId id);
  explicit Linear(StoredMatrix matrix);

  std::size_t rows() const { return m_.rows; }
  std::size_t cols() const { return m_.cols; }
  std::size_t row_bytes() const { return m_.row_bytes; }  // bytes of codes per row
  // Bytes of that many rows, their scales included.
  std::uint64_t bytes(std::size_t rows) const;
  StorageForm form() const { return m_.form; }
  // Whether the weight needs activations rounded through FP8 in official numerics (FP8 and MXFP4); other forms use BF16
  // activations.
  bool rounds_activations() const { return storage_form(m_.form).rounds_activations; }

  // The order that tokens must have to be multiplied with stored() rows; null: as they are.
  const LaneOrder* takes_order(const Kernels& kernels) const;

  // Whether these products support it. Null: none do.
  bool taken_by(const ConvertedProducts* products) const;
  RowCodes codes() const { return codes_; }
  // Columns that share a scale (1: each has its own).
  std::size_t group() const { return m_.groups.empty() ? m_.block_cols : 1; }

  // Decodes one row to padded(cols) floats. `scratch` is reused between calls.
  void decode(const Kernels& kernels, std::size_t row, float* out, std::vector<float>& scratch) const;

  // Rows [row, row + count) in the layout of Kernels::dot_stored. Their scales are written to `scratch`.
  StoredRows stored(const Kernels& kernels, std::size_t row, std::size_t count, std::vector<float>& scratch) const;

 private:
  // Scales, and offsets if there are any, of the rows' groups (of their columns if `groups` is set).
  void decode_scales(const Kernels& kernels, std::size_t block_row, std::size_t count, float* scales) const;
  void decode_scales(const Kernels& kernels, std::size_t first, std::span<float> scales) const;  // in stored order
  void decode_offsets(std::size_t row, float* offsets) const;
  std::size_t scale_count() const { return m_.groups.empty() ? m_.scale_cols() : m_.cols; }

  StoredMatrix m_;
  RowCodes codes_ = RowCodes::kF32;
  const float* values_ = nullptr;  // for kNibbles
};

}  // namespace outrider
