// Tests every row of the table: tensors, decoder and encoder agree for each code of the form.

#include "outrider/storage_forms/storage_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "outrider/storage_forms/encode.h"
#include "outrider/storage_forms/stored_matrix.h"

namespace outrider {
namespace {

// The dtypes that a tensor may have.
std::vector<Dtype> dtypes_of(const FormTensor& tensor) {
  std::vector<Dtype> out;
  for (int i = 0; i < kDtypeCount; ++i) {
    if (tensor.dtypes.has(static_cast<Dtype>(i))) out.push_back(static_cast<Dtype>(i));
  }
  return out;
}

// Bits per code in a tensor of that dtype.
unsigned code_bits(const StorageFormSpec& spec, Dtype dtype) {
  return spec.code_bits != 0 ? spec.code_bits : dtype_bits(dtype);
}

// A weight of one row with the codes first, first + 1, …; all scales are 1.
class Row {
 public:
  Row(const StorageFormSpec& spec, Dtype dtype, std::uint32_t first, std::size_t cols) : spec_(spec) {
    const unsigned bits = code_bits(spec, dtype);
    codes_.resize(cols * bits / 8);
    for (std::size_t i = 0; i < cols; ++i) {
      const std::uint32_t code = first + static_cast<std::uint32_t>(i);
      if (bits < 8) {
        codes_[i * bits / 8] |= static_cast<std::byte>((code & 15U) << (i * bits % 8));
      } else {
        std::memcpy(codes_.data() + i * bits / 8, &code, bits / 8);
      }
    }
    tensors_[spec.codes().component] = {codes_, dtype};
    shape_ = {1, cols, scale_block(spec, {1, cols}, static_cast<std::uint32_t>(cols))};
    for (const FormTensor& t : spec.tensors) {
      if (t.role == TensorRole::kCodes || t.role == TensorRole::kOptional) continue;
      std::vector<std::byte>& bytes = others_.emplace_back(64 * sizeof(float));
      const Dtype other = dtypes_of(t).back();  // the widest
      for (std::size_t i = 0; i < 64; ++i) put_one(other, i, bytes);
      tensors_[t.component] = {bytes, other};
    }
  }

  std::vector<float> decoded() const {
    std::vector<float> out(shape_.cols);
    decode(stored_matrix(spec_.form, shape_, tensors_), 0, 0, out.size(), out.data());
    return out;
  }

 private:
  static void put_one(Dtype dtype, std::size_t i, std::vector<std::byte>& bytes) {
    const float one = 1;
    switch (dtype) {
      case Dtype::kF32:
        std::memcpy(bytes.data() + i * sizeof one, &one, sizeof one);
        break;
      case Dtype::kF8E4M3:
        bytes[i] = std::byte{0x38};
        break;
      default:
        bytes[i] = std::byte{127};
    }
  }

  const StorageFormSpec& spec_;
  WeightShape shape_;
  std::vector<std::byte> codes_;
  std::vector<std::vector<std::byte>> others_;
  MatrixTensors tensors_;
};

class EveryStorageForm : public ::testing::TestWithParam<const StorageFormSpec*> {};

TEST_P(EveryStorageForm, IsDescribedCompletely) {
  const StorageFormSpec& spec = *GetParam();
  EXPECT_EQ(&storage_form(spec.form), &spec);
  EXPECT_FALSE(spec.name.empty());
  EXPECT_FALSE(spec.description.name.empty());
  EXPECT_GT(spec.rounding_error, 0);
  ASSERT_FALSE(spec.tensors.empty());
  EXPECT_EQ(spec.codes().role, TensorRole::kCodes);
  ASSERT_NE(spec.decode, nullptr);
  ASSERT_NE(spec.row_codes, nullptr);
  EXPECT_EQ(spec.scale() != nullptr, spec.quantised());
  EXPECT_EQ(spec.grid != ScaleGrid::kNone, spec.quantised());
  EXPECT_EQ(spec.encode_rows != nullptr, !spec.short_name.empty());
  if (spec.row_codes(dtypes_of(spec.codes()).front()) == RowCodes::kNibbles) {
    EXPECT_NE(spec.code_values, nullptr);
  }
  for (const FormTensor& t : spec.tensors) {
    EXPECT_TRUE(t.shape({256, 256, {1, 16}}));
    EXPECT_EQ(t.dtypes_text.empty(), t.role == TensorRole::kCodes) << component_suffix(t.component);
    if (t.written) {
      EXPECT_TRUE(t.dtypes.has(*t.written));
    }
  }
}

// A form's tensors are recognised as that form.
TEST_P(EveryStorageForm, IsRecognisedByItsTensors) {
  const StorageFormSpec& spec = *GetParam();
  for (const FormTensor& codes : spec.tensors) {
    if (codes.role != TensorRole::kCodes) continue;
    const WeightShape weight{256, 512, scale_block(spec, {128, 128}, 128)};
    ByComponent<TensorInfo> tensors;
    ByComponent<TensorShape> shapes;
    WeightTensors found{};
    ComponentSet names{};
    for (const FormTensor& t : spec.tensors) {
      if (t.role == TensorRole::kOptional || (t.role == TensorRole::kCodes && &t != &codes)) continue;
      shapes[t.component] = *t.shape(weight);
      tensors[t.component].shape = shapes[t.component].span();
      tensors[t.component].dtype = dtypes_of(t).front();
      found[t.component] = &tensors[t.component];
      names[t.component] = true;
    }
    EXPECT_EQ(form_of_tensors(found), &spec);
    if (spec.quantised() && spec.has_names == nullptr) continue;  // names alone do not determine the form
    // The releases' FP8 and MXFP4 have the same names and differ only in the modules that use them.
    EXPECT_EQ(&form_of_names(names, spec.form == StorageForm::kMxfp4), &spec);
  }
}

// All codes of up to 16 bits, at the scale 1.
TEST_P(EveryStorageForm, EveryCodeHasADistinctValue) {
  const StorageFormSpec& spec = *GetParam();
  for (const Dtype dtype : dtypes_of(spec.codes())) {
    const unsigned bits = code_bits(spec, dtype);
    if (bits > 16) continue;
    const std::size_t cols = spec.grid == ScaleGrid::kGroups ? spec.group_size : 128;
    std::set<std::uint32_t> values;  // -0 and 0 are distinct
    for (std::uint32_t first = 0; first < 1U << bits; first += static_cast<std::uint32_t>(cols)) {
      for (const float value : Row(spec, dtype, first, cols).decoded()) {
        if (!std::isnan(value)) values.insert(std::bit_cast<std::uint32_t>(value));
      }
    }
    const RowCodes codes = spec.row_codes(dtype);
    const std::size_t nans = codes == RowCodes::kE4m3   ? 2
                             : codes == RowCodes::kBf16 ? 2 * 127
                             : codes == RowCodes::kF16  ? 2 * 1023
                                                        : 0;
    EXPECT_EQ(values.size() + nans, 1U << bits) << dtype_name(dtype);
  }
}

// decode(encode(x)) for all values x of the form at the scale 1.
TEST_P(EveryStorageForm, EveryCodeRoundTrips) {
  const StorageFormSpec& spec = *GetParam();
  if (spec.encode_rows == nullptr) return;
  const Dtype dtype = *spec.codes().written;
  const unsigned bits = code_bits(spec, dtype);
  const std::size_t cols = spec.grid == ScaleGrid::kGroups ? spec.group_size : std::min(256U, 1U << bits);
  TargetForm target = usual_target(spec.form);
  if (spec.scale_has_spellings()) target.scale_dtype = Dtype::kF8E8M0;
  if (spec.grid == ScaleGrid::kAnyGroups) target.group_size = static_cast<std::uint32_t>(cols);
  // Encoders try the scale 1, except W4A16's, whose scales are derived from the values.
  const float tolerance = spec.grid == ScaleGrid::kAnyGroups ? 0.01F : 0;
  for (std::uint32_t first = 0; first < 1U << bits; first += static_cast<std::uint32_t>(cols)) {
    std::vector<float> values = Row(spec, dtype, first, cols).decoded();
    float amax = 0;
    for (float& v : values) {
      if (!std::isfinite(v)) v = 0;
      amax = std::max(amax, std::fabs(v));
    }
    const std::vector<EncodedTensor> list = encoded_tensors(target, 1, cols, "w");
    std::vector<std::vector<std::byte>> bytes;
    for (const EncodedTensor& t : list) bytes.emplace_back(*tensor_bytes(t.dtype, t.shape));
    encode_rows(target, {values.data(), cols, 0, 1, cols, amax}, bytes);
    encode_whole(target, 1, cols, amax, bytes);
    MatrixTensors tensors;
    for (std::size_t i = 0; i < list.size(); ++i) tensors[list[i].component] = {bytes[i], list[i].dtype};
    const ScaleBlock block = scale_block(spec, {kEncodedRows, kEncodedRows}, target.group_size);
    std::vector<float> again(cols);
    decode(stored_matrix(spec.form, {1, cols, block}, tensors), 0, 0, cols, again.data());
    for (std::size_t c = 0; c < cols; ++c) {
      EXPECT_LE(std::fabs(again[c] - values[c]), std::fabs(values[c]) * tolerance) << first + c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(StorageForms, EveryStorageForm,
                         ::testing::ValuesIn(storage_forms().begin(), storage_forms().end()), [](const auto& form) {
                           std::string name;
                           for (const char c : form.param->name) {
                             if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
                           }
                           return name;
                         });

}  // namespace
}  // namespace outrider
