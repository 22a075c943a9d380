#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "outrider/storage_forms/storage_form.h"

namespace outrider {

// A storage form that weights can be encoded in (docs/storage-forms.md).
struct TargetForm {
  StorageForm form = StorageForm::kPlain;  // kPlain: BF16
  std::uint32_t group_size = 0;            // for forms whose scales are per group
  Component scale = Component::kScale;     // name of the scale tensor, if the form has several spellings
  Dtype scale_dtype = Dtype::kF32;         // and its dtype: for kFp8Block F8_E8M0, BF16 or F32
  friend bool operator==(const TargetForm&, const TargetForm&) = default;
};
// The form with its usual group size and scales.
TargetForm usual_target(StorageForm form);

// One tensor of an encoded weight: its component, and its dtype and shape for a weight [rows, cols].
struct EncodedTensor {
  Component component = Component::kWeight;
  Dtype dtype = Dtype::kBF16;
  std::vector<std::uint64_t> shape;
};
// Throws Error, whose message begins with `name`, if a row cannot be divided into the form's groups.
std::vector<EncodedTensor> encoded_tensors(const TargetForm& form, std::uint64_t rows, std::uint64_t cols,
                                           std::string_view name);

// The difference between encoded values and the originals.
struct EncodingError {
  double squared = 0;
  double squared_values = 0;
  float largest = 0;

  void add(const EncodingError& other);
  // sqrt(sum of squared errors / sum of squared values)
  double relative() const;
};

// Rows that are encoded together: those of an FP8 block.
inline constexpr std::size_t kEncodedRows = 128;

// Rows [first, first + count) of a weight with `cols` columns.
struct ValueRows {
  const float* values = nullptr;  // the rows, `stride` apart
  std::size_t stride = 0;
  std::size_t first = 0;
  std::size_t count = 0;
  std::size_t cols = 0;
  float amax = 0;  // the largest magnitude in the whole weight

  const float* row(std::size_t r) const { return values + r * stride; }
};

// Encodes rows: rounds to nearest, with the scale of each group (of each block for FP8) that minimises the sum of
// squared errors among the candidates. `out`: the bytes of all of the weight's tensors, in the order of
// encoded_tensors(), initially zero. Ranges of rows that begin at multiples of kEncodedRows may be encoded
// concurrently.
EncodingError encode_rows(const TargetForm& form, const ValueRows& rows, std::span<std::vector<std::byte>> out);
// Encodes tensors of the whole weight: its shape, its global scale.
void encode_whole(const TargetForm& form, std::size_t rows, std::size_t cols, float amax,
                  std::span<std::vector<std::byte>> out);

}  // namespace outrider
