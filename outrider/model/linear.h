#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/binding/weights.h"
#include "outrider/model/kernels.h"
#include "outrider/model/rounding.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

// A matrix of activations, [rows, cols], whose rows are padded with zeros to whole kLanes.
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
  std::vector<float> values_;
};

// What every part of a forward pass computes with.
struct Compute {
  const Kernels& kernels;
  ThreadPool& pool;
  NumericMode mode;

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

// A weight matrix [rows, cols] = [out, in] in the storage form that the artifact has, read where it is mapped.
class Linear {
 public:
  Linear() = default;
  // Throws Error where a table beside the codes (weight_g_idx) points outside of the matrix.
  Linear(const Weights& weights, ParameterId id);

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  StorageForm form() const { return form_; }
  // FP8 and MXFP4 weights take activations rounded through FP8 in official numerics; the other forms BF16 ones.
  bool rounds_activations() const { return form_ == StorageForm::kFp8Block || form_ == StorageForm::kMxfp4; }

  // One row's values, padded(cols) floats. `scratch` is reused between calls.
  void decode(const Kernels& kernels, std::size_t row, float* out, std::vector<float>& scratch) const;

 private:
  struct Scales {
    const std::byte* at = nullptr;
    Dtype dtype = Dtype::kF32;
    std::size_t cols = 0;

    float operator()(std::size_t row, std::size_t col) const;
  };

  void decode_nibbles(const Kernels& kernels, std::size_t row, float* out, std::vector<float>& scratch) const;

  StorageForm form_ = StorageForm::kPlain;
  Dtype dtype_ = Dtype::kF32;  // of kPlain
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::size_t row_bytes_ = 0;
  const std::byte* codes_ = nullptr;
  Scales scales_;
  std::size_t block_rows_ = 1;  // of scales_
  std::size_t block_cols_ = 1;
  float global_scale_ = 1;
  const std::byte* zero_points_ = nullptr;  // I32 [ceil(rows/8), groups]
  std::vector<std::uint32_t> groups_;       // group of each column, where weight_g_idx says so
};

// What a product's input and output are rounded to in official numerics.
enum class ProductKind {
  kLinear,       // input through FP8 where the weight asks for it, output to BF16
  kUnroundedIn,  // input as it is, output to BF16: wo_a, weights_proj
  kFloat,        // neither: router, compressors, mHC, head
};

// y[t] = W x[t] for rows [first, first + y.cols()) of W. x [T, W.cols()], y [T, …].
void multiply(const Compute& compute, const Linear& weight, const Rows& x, Rows& y, ProductKind kind,
              std::size_t first = 0);

}  // namespace outrider
