#pragma once

#include <span>

#include "outrider/backend/cpu/compute.h"
#include "outrider/backend/product.h"

namespace outrider {

// Products that do not take each other's results, as one piece of work for all threads.
void multiply(const Compute& compute, std::span<const Product> products);

// y = W x. x [T, W.cols()], y [T, W.rows()].
inline void multiply(const Compute& compute, const Linear& weight, const Rows& x, Rows& y, ProductKind kind) {
  const Product product{weight, x, y, kind};
  multiply(compute, {&product, 1});
}

}  // namespace outrider
