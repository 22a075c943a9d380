#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "outrider/binding/plan.h"
#include "outrider/check/tensor_data.h"
#include "outrider/storage_forms/stored_matrix.h"

namespace outrider {

// The values of one bound parameter as floats, in any storage form (docs/storage-forms.md): slices of stacks, codes
// times scales. Reads any range of elements, row by row, without copying the tensor. For diagnosis.
class ParameterValues {
 public:
  // Nothing if it is not a float parameter, is not bound, or is beyond the end of its file. `data` must outlive it.
  static std::optional<ParameterValues> of(const BindingReport& binding, const TensorData& data, ParameterId id);

  std::uint64_t rows() const { return matrix_.rows; }  // 1 for a vector
  std::uint64_t cols() const { return matrix_.cols; }
  std::uint64_t elements() const { return rows() * cols(); }

  // Reads elements [begin, begin + count) in row-major order.
  void read(std::uint64_t begin, std::uint64_t count, float* out) const;
  // Releases the memory of elements that were read.
  void drop(std::uint64_t begin, std::uint64_t count) const;

  // Calls visit(begin, floats) for consecutive pieces of bounded size, and releases their memory.
  template <typename Visit>
  void for_each_piece(const Visit& visit) const {
    std::vector<float> piece(std::min(kPiece, elements()));
    for (std::uint64_t at = 0; at < elements(); at += kPiece) {
      const std::uint64_t count = std::min(kPiece, elements() - at);
      read(at, count, piece.data());
      visit(at, std::span<const float>(piece.data(), count));
      drop(at, count);
    }
  }
  static constexpr std::uint64_t kPiece = 128 << 10;  // elements

 private:
  ParameterValues(const TensorData& data, const TensorInfo& codes) : data_(&data), codes_(&codes) {}

  const TensorData* data_;
  const TensorInfo* codes_;
  std::uint64_t begin_ = 0;  // of the parameter's codes in the tensor
  StoredMatrix matrix_;
};

}  // namespace outrider
