#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/backend/weight_matrix.h"
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
