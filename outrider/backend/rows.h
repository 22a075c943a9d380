#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/kernels/kernels.h"
#include "outrider/util/aligned_vector.h"

namespace outrider {

// A matrix [rows, cols] whose rows are padded with zeros to a multiple of kLanes and aligned to cache lines.
template <typename T>
class RowsOf {
 public:
  RowsOf() = default;
  RowsOf(std::size_t rows, std::size_t cols)
      : rows_(rows), cols_(cols), stride_(padded(cols)), values_(rows * stride_) {}

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  std::size_t stride() const { return stride_; }
  std::span<T> operator[](std::size_t row) { return {values_.data() + row * stride_, cols_}; }
  std::span<const T> operator[](std::size_t row) const { return {values_.data() + row * stride_, cols_}; }
  T* data() { return values_.data(); }
  const T* data() const { return values_.data(); }

  // Changes the shape; the values are undefined afterwards. Allocates only if the shape is larger than all previous
  // ones.
  void reshape(std::size_t rows, std::size_t cols) {
    rows_ = rows;
    cols_ = cols;
    stride_ = padded(cols);
    if (values_.size() < rows * stride_) {
      values_ = {};  // free the old values before allocating
      values_.resize(rows * stride_);
    } else if (stride_ != cols) {
      for (std::size_t r = 0; r < rows; ++r) std::fill_n(values_.data() + r * stride_ + cols, stride_ - cols, T{});
    }
  }

  // Bytes of a matrix of this shape, and bytes that this matrix has allocated.
  static std::uint64_t bytes(std::uint64_t rows, std::uint64_t cols) { return rows * padded(cols) * sizeof(T); }
  std::uint64_t allocated_bytes() const { return values_.size() * sizeof(T); }

 private:
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::size_t stride_ = 0;
  AlignedVector<T> values_;
};

using Rows = RowsOf<float>;  // activations
using IndexRows = RowsOf<std::uint32_t>;

}  // namespace outrider
