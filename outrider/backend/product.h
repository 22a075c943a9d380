#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/backend/linear.h"
#include "outrider/backend/rows.h"

namespace outrider {

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
  std::size_t first = 0;                       // of the rows of W
  std::size_t rows = 0;                        // as many of them; 0: y.cols()
  std::size_t tokens = 0;                      // 0: y.rows()
  std::size_t x_row = 0;                       // the first token's row of x; the next ones follow, …
  std::span<const std::uint32_t> x_rows = {};  // … or, if not empty, the row of each token
  std::size_t x_col = 0;                       // of the W.cols() columns of x
  std::size_t y_row = 0;                       // the first token's row of y; the next ones follow
  std::size_t y_col = 0;                       // of the `rows` columns of y
};

}  // namespace outrider
