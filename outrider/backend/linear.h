#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "outrider/binding/weights.h"
#include "outrider/kernels/kernels.h"
#include "outrider/math/rounding.h"
#include "outrider/util/aligned_vector.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

// A matrix of activations, [rows, cols], whose rows are padded with zeros to whole kLanes and begin at cache lines.
class Rows {
 public:
  Rows() = default;
  Rows(std::size_t rows, std::size_t cols) : rows_(rows), cols_(cols), stride_(padded(cols)), values_(rows * stride_) {}

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  std::size_t stride() const { return stride_; }
  std::span<float> operator[](std::size_t row) { return {values_.data() + row * stride_, cols_}; }
  std::span<const float> operator[](std::size_t row) const { return {values_.data() + row * stride_, cols_}; }
  float* data() { return values_.data(); }
  const float* data() const { return values_.data(); }

 private:
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::size_t stride_ = 0;
  AlignedVector<float> values_;
};

// What every part of a forward pass computes with.
struct Compute {
  const Kernels& kernels;
  ThreadPool& pool;
  NumericMode mode;
  std::uint64_t* weight_bytes = nullptr;  // counts what products read of weights

  bool official() const { return mode == NumericMode::kOfficial; }
  // To BF16 where the mode rounds between operations.
  void round(std::span<float> x) const {
    if (official()) round_to_bf16(x);
  }
  float dot(const float* a, const float* b, std::size_t padded_size) const {
    float out = 0;
    kernels.dot_rows(a, 1, b, 1, 0, padded_size, &out, 1, 1);
    return out;
  }
};

// Where the parts of a weight matrix [rows, cols] stand, in the storage form that the artifact has.
struct StoredMatrix {
  StorageForm form = StorageForm::kPlain;
  Dtype dtype = Dtype::kF32;  // of kPlain
  std::size_t rows = 0;
  std::size_t cols = 0;
  const std::byte* codes = nullptr;
  std::size_t row_bytes = 0;
  // Of blocks of block_rows x block_cols elements; all are multiplied by global_scale.
  const std::byte* scales = nullptr;
  Dtype scale_dtype = Dtype::kF32;
  std::size_t block_rows = 1;
  std::size_t block_cols = 1;
  float global_scale = 1;
  const std::byte* zero_points = nullptr;  // kW4A16: I32 [ceil(rows/8), groups], or null
  std::vector<std::uint32_t> groups;       // group of each column, where weight_g_idx says so

  std::size_t scale_cols() const { return (cols + block_cols - 1) / block_cols; }
};

// A weight matrix [rows, cols] = [out, in], read where it is mapped.
class Linear {
 public:
  Linear() = default;
  // Throws Error where a table beside the codes (weight_g_idx) points outside of the matrix.
  Linear(const Weights& weights, ParameterId id);
  explicit Linear(StoredMatrix matrix) : m_(std::move(matrix)) {}

  std::size_t rows() const { return m_.rows; }
  std::size_t cols() const { return m_.cols; }
  std::size_t row_bytes() const { return m_.row_bytes; }  // of codes
  // Of so many rows, their scales included.
  std::uint64_t bytes(std::size_t rows) const;
  StorageForm form() const { return m_.form; }
  // FP8 and MXFP4 weights take activations rounded through FP8 in official numerics; the other forms BF16 ones.
  bool rounds_activations() const { return m_.form == StorageForm::kFp8Block || m_.form == StorageForm::kMxfp4; }

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
};

// What a product's input and output are rounded to in official numerics.
enum class ProductKind {
  kLinear,       // input through FP8 where the weight asks for it, output to BF16
  kUnroundedIn,  // input as it is, output to BF16: wo_a, weights_proj
  kFloat,        // neither: router, compressors, mHC, head
};

// y[t] = W x[t], for some rows of W, and some rows and columns of x and y.
struct Product {
  const Linear& weight;
  const Rows& x;
  Rows& y;
  ProductKind kind = ProductKind::kLinear;
  std::size_t first = 0;  // of the rows of W
  std::size_t rows = 0;   // as many of them; 0: y.cols()
  std::size_t x_row = 0;  // y's first row is of this one of x
  std::size_t x_col = 0;  // of the W.cols() columns of x
  std::size_t y_col = 0;  // of the `rows` columns of y
};

// Products that do not take each other's results, as one piece of work for all threads.
void multiply(const Compute& compute, std::span<const Product> products);

// y = W x. x [T, W.cols()], y [T, W.rows()].
inline void multiply(const Compute& compute, const Linear& weight, const Rows& x, Rows& y, ProductKind kind) {
  const Product product{weight, x, y, kind};
  multiply(compute, {&product, 1});
}

}  // namespace outrider
