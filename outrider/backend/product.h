#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/backend/linear.h"
#include "outrider/backend/rows.h"

namespace outrider {

// Rounding of a product's input and output in official numerics.
enum class ProductKind {
  kLinear,       // input through FP8 if the weight requires it, output to BF16
  kUnroundedIn,  // input unrounded, output to BF16: wo_a, weights_proj
  kFloat,        // neither: router, compressors, mHC, head
};

// y[t] = W x[t], for a range of rows of W, and of rows and columns of x and y.
struct Product {
  const Linear& weight;
  const Rows& x;
  Rows& y;
  ProductKind kind = ProductKind::kLinear;
  std::size_t first = 0;                       // first row of W
  std::size_t rows = 0;                        // number of rows of W; 0: y.cols()
  std::size_t tokens = 0;                      // 0: y.rows()
  std::size_t x_row = 0;                       // row of x of the first token; the next rows follow, …
  std::span<const std::uint32_t> x_rows = {};  // … or, if not empty, the row of each token
  std::size_t x_col = 0;                       // first of the W.cols() columns of x
  std::size_t y_row = 0;                       // row of y of the first token; the next rows follow
  std::size_t y_col = 0;                       // first of the `rows` columns of y
};

}  // namespace outrider
