#include "outrider/backend/row_store.h"

#include <algorithm>

#include "outrider/checkpoint/number_formats.h"

namespace outrider {

RowStore::RowStore(std::size_t rows, std::size_t cols, bool as_bf16) : rows_(rows), cols_(cols) {
  if (as_bf16) {
    bf16_ = std::make_unique_for_overwrite<std::uint16_t[]>(rows * cols);
  } else {
    float_ = std::make_unique_for_overwrite<float[]>(rows * cols);
  }
}

void RowStore::store(std::size_t row, std::span<const float> values) {
  if (float_ != nullptr) {
    std::copy_n(values.data(), cols_, float_.get() + row * cols_);
    return;
  }
  std::transform(values.data(), values.data() + cols_, bf16_.get() + row * cols_, float_to_bf16);
}

void RowStore::load(std::size_t row, float* out) const {
  if (float_ != nullptr) {
    std::copy_n(float_.get() + row * cols_, cols_, out);
    return;
  }
  const std::uint16_t* from = bf16_.get() + row * cols_;
  std::transform(from, from + cols_, out, bf16_to_float);
}

}  // namespace outrider
