#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/binding/weights.h"
#include "outrider/kernels/kernels.h"
#include "outrider/storage_forms/stored_matrix.h"

namespace outrider {

// A weight matrix [rows, cols] = [out, in], read where it is mapped.
class Linear {
 public:
  Linear() = default;
  // Throws Error where a table beside the codes (weight_g_idx) points outside of the matrix.
  Linear(const Weights& weights, ParameterId id);
  explicit Linear(StoredMatrix matrix);

  std::size_t rows() const { return m_.rows; }
  std::size_t cols() const { return m_.cols; }
  std::size_t row_bytes() const { return m_.row_bytes; }  // of codes
  // Of so many rows, their scales included.
  std::uint64_t bytes(std::size_t rows) const;
  StorageForm form() const { return m_.form; }
  // FP8 and MXFP4 weights take activations rounded through FP8 in official numerics; the other forms BF16 ones.
  bool rounds_activations() const { return storage_form(m_.form).rounds_activations; }

  // Whether stored() rows are to be multiplied with tokens in the order of even_odd().
  bool takes_even_odd(const Kernels& kernels) const;

  // One row's values, padded(cols) floats. `scratch` is reused between calls.
  void decode(const Kernels& kernels, std::size_t row, float* out, std::vector<float>& scratch) const;

  // Rows [row, row + count) as Kernels::dot_stored takes them. Their scales are written to `scratch`.
  StoredRows stored(const Kernels& kernels, std::size_t row, std::size_t count, std::vector<float>& scratch) const;

 private:
  // Scales, and offsets where there are any, of rows' groups (of their columns, where `groups` is set).
  void decode_scales(const Kernels& kernels, std::size_t block_row, std::size_t count, float* scales) const;
  void decode_scales(const Kernels& kernels, std::size_t first, std::span<float> scales) const;  // as they are stored
  void decode_offsets(std::size_t row, float* offsets) const;
  std::size_t scale_count() const { return m_.groups.empty() ? m_.scale_cols() : m_.cols; }
  std::size_t group() const { return m_.groups.empty() ? m_.block_cols : 1; }

  StoredMatrix m_;
  RowCodes codes_ = RowCodes::kF32;
  const float* values_ = nullptr;  // of kNibbles
};

}  // namespace outrider
