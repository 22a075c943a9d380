#pragma once

#include <span>
#include <vector>

#include "outrider/backend/cpu/compute.h"
#include "outrider/backend/product.h"

namespace outrider {

// Memory for inputs in the layouts that kernels need, reused by later products.
struct ConvertedInputs {
  AlignedVector<float> values;
  std::vector<float> row;
};

// Computes independent products as one piece of work for all threads.
void multiply(const Compute& compute, std::span<const Product> products, ConvertedInputs& converted);

}  // namespace outrider
