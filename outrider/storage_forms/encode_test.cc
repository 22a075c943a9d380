#include "outrider/storage_forms/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "outrider/checkpoint/number_formats.h"
#include "outrider/checkpoint/tensor_info.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::size_t kRows = 256;
constexpr std::size_t kCols = 384;

const TargetForm kFp8{StorageForm::kFp8Block, 0, Component::kScale, Dtype::kF32};
const TargetForm kFp8E8m0{StorageForm::kFp8Block, 0, Component::kScale, Dtype::kF8E8M0};
const TargetForm kFp8Bf16{StorageForm::kFp8Block, 0, Component::kWeightScale, Dtype::kBF16};
const TargetForm kW4{StorageForm::kW4A16, 128, Component::kWeightScale, Dtype::kBF16};
const TargetForm kNv{StorageForm::kNvfp4, 16, Component::kWeightScale, Dtype::kF8E4M3};
const TargetForm kMx{StorageForm::kMxfp4, 32, Component::kScale, Dtype::kF8E8M0};

struct Encoded {
  std::vector<std::vector<std::byte>> tensors;
  EncodingError error;

  template <typename T>
  T at(std::size_t tensor, std::size_t index) const {
    T value;
    std::memcpy(&value, tensors[tensor].data() + index * sizeof(T), sizeof(T));
    return value;
  }
  unsigned nibble(std::size_t index) const {
    return static_cast<unsigned>(tensors[0][index / 2]) >> 4 * (index % 2) & 15U;
  }
};

Encoded encode(const TargetForm& form, const std::vector<float>& w, std::size_t rows = kRows,
               std::size_t cols = kCols) {
  Encoded out;
  for (const EncodedTensor& t : encoded_tensors(form, rows, cols, "w")) {
    out.tensors.emplace_back(*tensor_bytes(t.dtype, t.shape));
  }
  float amax = 0;
  for (const float x : w) amax = std::max(amax, std::fabs(x));
  for (std::size_t first = 0; first < rows; first += kEncodedRows) {
    const std::size_t count = std::min(kEncodedRows, rows - first);
    out.error.add(encode_rows(form, {w.data() + first * cols, cols, first, count, cols, amax}, out.tensors));
  }
  encode_whole(form, rows, cols, amax, out.tensors);
  return out;
}

// The value of the stored tensors, computed as docs/storage-forms.md defines it.
float decoded(const TargetForm& form, const Encoded& e, std::size_t row, std::size_t col, std::size_t cols = kCols) {
  const std::size_t i = row * cols + col;
  switch (form.form) {
    case StorageForm::kFp8Block: {
      const std::size_t s = row / 128 * ((cols + 127) / 128) + col / 128;
      const float scale = form.scale_dtype == Dtype::kF32    ? e.at<float>(1, s)
                          : form.scale_dtype == Dtype::kBF16 ? bf16_to_float(e.at<std::uint16_t>(1, s))
                                                             : e8m0_to_float(e.at<std::uint8_t>(1, s));
      return e4m3_to_float(e.at<std::uint8_t>(0, i)) * scale;
    }
    case StorageForm::kW4A16: {
      const unsigned code = e.at<std::uint32_t>(0, i / 8) >> 4 * (i % 8) & 15U;
      return (static_cast<float>(code) - 8) * bf16_to_float(e.at<std::uint16_t>(1, row * (cols / 128) + col / 128));
    }
    case StorageForm::kNvfp4:
      return e2m1_to_float(static_cast<std::uint8_t>(e.nibble(i))) *
             e4m3_to_float(e.at<std::uint8_t>(1, row * (cols / 16) + col / 16)) / e.at<float>(2, 0);
    case StorageForm::kMxfp4:
      return e2m1_to_float(static_cast<std::uint8_t>(e.nibble(i))) *
             e8m0_to_float(e.at<std::uint8_t>(1, row * (cols / 32) + col / 32));
    default:
      return bf16_to_float(e.at<std::uint16_t>(0, i));
  }
}

std::vector<float> normal(std::uint32_t seed = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(0, 0.02F);
  std::vector<float> w(kRows * kCols);
  for (float& x : w) x = distribution(random);
  return w;
}

class EveryForm : public ::testing::TestWithParam<TargetForm> {};

TEST_P(EveryForm, ErrorsAreThoseOfTheStoredValues) {
  const std::vector<float> w = normal();
  const Encoded e = encode(GetParam(), w);
  double squared = 0;
  double values = 0;
  float largest = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const float d = decoded(GetParam(), e, i / kCols, i % kCols) - w[i];
    squared += static_cast<double>(d) * d;
    values += static_cast<double>(w[i]) * w[i];
    largest = std::max(largest, std::fabs(d));
  }
  EXPECT_NEAR(e.error.relative(), std::sqrt(squared / values), 1e-4);
  EXPECT_NEAR(e.error.largest, largest, 1e-6);
}

TEST_P(EveryForm, AWeightInThatFormRoundTrips) {
  const Encoded once = encode(GetParam(), normal());
  std::vector<float> w(kRows * kCols);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = decoded(GetParam(), once, i / kCols, i % kCols);
  const Encoded twice = encode(GetParam(), w);
  // Arbitrary scales, which are not powers of two, are recovered only up to rounding.
  const bool exact = GetParam().scale_dtype == Dtype::kF8E8M0 || GetParam().form == StorageForm::kPlain;
  EXPECT_LE(twice.error.relative(), exact ? 0 : 0.06);
}

TEST_P(EveryForm, ZerosAreZeros) {
  const Encoded e = encode(GetParam(), std::vector<float>(kRows * kCols));
  EXPECT_EQ(e.error.squared, 0);
  for (std::size_t i = 0; i < kRows * kCols; i += 7) ASSERT_EQ(decoded(GetParam(), e, i / kCols, i % kCols), 0);
}

TEST_P(EveryForm, NanShowsInTheError) {
  std::vector<float> w = normal();
  w[777] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(std::isfinite(encode(GetParam(), w).error.squared_values));
}

TEST_P(EveryForm, OutliersAndTinyValuesStayFinite) {
  for (const float size : {1e30F, 1e-30F, 1e-38F}) {
    std::vector<float> w = normal();
    for (float& x : w) x *= size;
    w[5] = 0;
    const Encoded e = encode(GetParam(), w);
    EXPECT_TRUE(size > 1 || std::isfinite(e.error.squared)) << size;
    for (std::size_t i = 0; i < w.size(); i += 13) {
      ASSERT_TRUE(std::isfinite(decoded(GetParam(), e, i / kCols, i % kCols))) << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Encode, EveryForm, ::testing::Values(kFp8, kFp8E8m0, kFp8Bf16, kW4, kNv, kMx, TargetForm{}));

TEST(Encode, EveryCodeOfE4m3AndE2m1) {
  // Rows whose largest value makes the scale 1: all codes are encoded as themselves.
  std::vector<float> w(128UL * 128, 448.0F);
  for (unsigned code = 0; code < 256; ++code) {
    if ((code & 0x7f) != 0x7f) w[code] = e4m3_to_float(static_cast<std::uint8_t>(code));
  }
  const Encoded fp8 = encode(kFp8E8m0, w, 128, 128);
  ASSERT_EQ(fp8.at<std::uint8_t>(1, 0), 127);
  for (unsigned code = 0; code < 256; ++code) {
    if ((code & 0x7f) != 0x7f) {
      EXPECT_EQ(fp8.at<std::uint8_t>(0, code), code);
    }
  }
  std::vector<float> v(32, 6.0F);
  for (unsigned code = 0; code < 16; ++code) v[code] = e2m1_to_float(static_cast<std::uint8_t>(code));
  v[8] = 0;  // -0 is stored as 0
  const Encoded mx = encode(kMx, v, 1, 32);
  for (unsigned code = 0; code < 16; ++code) EXPECT_EQ(mx.nibble(code), code == 8 ? 0 : code);
}

TEST(Encode, TheSearchBeatsTheLargestValue) {
  // One outlier in a group of 128: a scale that does not clip it increases the error of the other values.
  std::vector<float> w = normal();
  for (std::size_t r = 0; r < kRows; ++r) w[r * kCols] = 0.09F;
  const Encoded e = encode(kW4, w);
  double plain = 0;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t g = 0; g < kCols; g += 128) {
      float amax = 0;
      for (std::size_t c = g; c < g + 128; ++c) amax = std::max(amax, std::fabs(w[r * kCols + c]));
      const float scale = round_to_bf16(amax / 7.5F);
      for (std::size_t c = g; c < g + 128; ++c) {
        const float x = w[r * kCols + c];
        const float d = std::clamp(std::nearbyintf(x / scale), -8.0F, 7.0F) * scale - x;
        plain += static_cast<double>(d) * d;
      }
    }
  }
  EXPECT_LT(e.error.squared, 0.9 * plain);
}

TEST(Encode, RefusesRowsThatCannotBeDivided) {
  EXPECT_THROW(encoded_tensors(kW4, 8, 200, "w"), Error);
  EXPECT_THROW(encoded_tensors(kNv, 8, 24, "w"), Error);
  EXPECT_THROW(encoded_tensors(kMx, 8, 48, "w"), Error);
  EXPECT_NO_THROW(encoded_tensors(kFp8, 100, 200, "w"));
}

}  // namespace
}  // namespace outrider
