#pragma once

#include <span>
#include <vector>

#include "outrider/backend/cpu/compute.h"
#include "outrider/backend/product.h"

namespace outrider {

// Memory for inputs in the layouts that kernels need; it is kept for the next products.
struct ConvertedInputs {
  AlignedVector<float> values;
  std::vector<float> row;
};

// Products that do not take each other's results, as one piece of work for all threads.
void multiply(const Compute& compute, std::span<const Product> products, ConvertedInputs& converted);

}  // namespace outrider
