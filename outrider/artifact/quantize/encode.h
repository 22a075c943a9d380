#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "outrider/binding/storage_form.h"
#include "outrider/binding/tensor_name.h"
#include "outrider/checkpoint/dtype.h"

namespace outrider {

// A storage form that weights can be brought into (docs/storage-forms.md).
struct TargetForm {
  StorageForm form = StorageForm::kPlain;  // kPlain: BF16
  std::uint32_t group_size = 0;            // of kW4A16
  Component scale = Component::kScale;     // what FP8's and MXFP4's scale is called
  Dtype scale_dtype = Dtype::kF32;         // of kFp8Block: F8_E8M0, BF16 or F32
  friend bool operator==(const TargetForm&, const TargetForm&) = default;
};

// One tensor of a weight in a form: which component, and its dtype and shape for a weight [rows, cols].
struct EncodedTensor {
  Component component = Component::kWeight;
  Dtype dtype = Dtype::kBF16;
  std::vector<std::uint64_t> shape;
};
// Throws Error, which begins with `name`, where a row cannot be divided into the form's groups.
std::vector<EncodedTensor> encoded_tensors(const TargetForm& form, std::uint64_t rows, std::uint64_t cols,
                                           std::string_view name);

// How far encoded values are from what they were made of.
struct EncodingError {
  double squared = 0;
  double squared_values = 0;
  float largest = 0;

  void add(const EncodingError& other);
  // sqrt(sum of squared errors / sum of squared values)
  double relative() const;
};

// Rows that are encoded together: an FP8 block's.
inline constexpr std::size_t kEncodedRows = 128;

// Encodes rows [first, first + count) of a weight with `cols` columns: round to nearest, with the scale of each group
// (of each block, for FP8) that makes the sum of its squared errors least among those tried. `values`: the rows,
// `stride` apart. `out`: the bytes of all the weight's tensors, in the order of encoded_tensors(); ranges of rows that
// begin at multiples of kEncodedRows may be encoded at once. `amax`: the largest magnitude of the whole weight.
EncodingError encode_rows(const TargetForm& form, const float* values, std::size_t stride, std::size_t first,
                          std::size_t count, std::size_t cols, float amax, std::span<std::vector<std::byte>> out);
// What belongs to the weight as a whole: its shape, its global scale.
void encode_whole(const TargetForm& form, std::size_t rows, std::size_t cols, float amax,
                  std::span<std::vector<std::byte>> out);

}  // namespace outrider
