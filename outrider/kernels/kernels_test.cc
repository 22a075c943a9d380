// Compares every path with the scalar one, for each code of each format, each length and each number of rows.

#include "outrider/kernels/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <utility>

#include "outrider/checkpoint/number_formats.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

std::vector<float> some_values(std::size_t count, std::uint32_t seed) {
  std::vector<float> values(count);
  for (float& v : values) {
    seed = seed * 1664525U + 1013904223U;
    v = static_cast<float>(seed >> 8) * 0x1p-23F - 1.0F;
  }
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) return false;
  }
  return a.size() == b.size();
}

class KernelsTest : public ::testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels_ = *GetParam();
};

TEST_P(KernelsTest, E4m3EveryCodeAtEveryLength) {
  std::vector<std::byte> codes(256);
  for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::byte>(i);
  const float scales[] = {0x1p-3F, 1.5F, 0x1p-120F};
  for (const std::size_t block : {128U, 100U, 256U, 7U}) {
    if (256 / block >= std::size(scales)) continue;
    for (std::size_t size = 0; size <= 256; ++size) {
      std::vector<float> out(size, -7.0F);
      std::vector<float> expected(size, -7.0F);
      kernels_.e4m3(codes.data(), scales, block, size, out.data());
      for (std::size_t i = 0; i < size; ++i) {
        expected[i] = e4m3_to_float(static_cast<std::uint8_t>(i)) * scales[i / block];
      }
      ASSERT_TRUE(same_bits(out, expected)) << block << " " << size;
    }
  }
}

TEST_P(KernelsTest, NibblesEveryByteAtEveryGroup) {
  std::vector<std::byte> codes(256);
  for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::byte>(i);
  std::vector<float> values(16);
  for (std::size_t i = 0; i < 16; ++i) values[i] = e2m1_to_float(static_cast<std::uint8_t>(i));
  const std::vector<float> scales = some_values(512, 3);
  std::vector<float> offsets(512);
  for (std::size_t i = 0; i < 512; ++i) offsets[i] = static_cast<float>(i % 16) - 8.0F;
  for (const std::size_t group : {1U, 16U, 32U, 128U, 24U, 512U}) {
    for (const float* of : {static_cast<const float*>(nullptr), std::as_const(offsets).data()}) {
      for (const std::size_t size : {512U, 496U, 480U, 300U, 2U}) {
        std::vector<float> out(size, -7.0F);
        std::vector<float> expected(size);
        kernels_.nibbles(codes.data(), values.data(), scales.data(), of, group, size, out.data());
        for (std::size_t i = 0; i < size; ++i) {
          const unsigned byte = static_cast<unsigned>(codes[i / 2]);
          const float value = values[i % 2 == 0 ? byte & 15U : byte >> 4];
          expected[i] = (value - (of == nullptr ? 0.0F : of[i / group])) * scales[i / group];
        }
        ASSERT_TRUE(same_bits(out, expected)) << group << " " << size;
      }
    }
  }
}

TEST_P(KernelsTest, SixteenBitFloatsEveryCode) {
  std::vector<std::uint16_t> codes(65536);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint16_t>(i);
  const auto* bytes = reinterpret_cast<const std::byte*>(codes.data());
  for (const std::size_t size : {65536U, 65535U, 65523U, 17U, 8U, 1U, 0U}) {
    std::vector<float> out(size);
    std::vector<float> expected(size);
    kernels_.bf16(bytes, size, out.data());
    for (std::size_t i = 0; i < size; ++i) expected[i] = bf16_to_float(codes[i]);
    EXPECT_TRUE(same_bits(out, expected)) << size;
    kernels_.f16(bytes, size, out.data());
    for (std::size_t i = 0; i < size; ++i) expected[i] = f16_to_float(codes[i]);
    EXPECT_TRUE(same_bits(out, expected)) << size;
  }
}

// A product must not depend on how many rows or tokens are computed with it.
TEST_P(KernelsTest, DotRowsByRowAndToken) {
  for (const std::size_t size : {32U, 64U, 96U, 1024U}) {
    const std::size_t stride = size + 32;
    const std::vector<float> rows = some_values(kRowTile * size, 1);
    const std::vector<float> tokens = some_values(5 * stride, 2);
    std::vector<float> alone(kRowTile * 5);
    for (std::size_t r = 0; r < kRowTile; ++r) {
      for (std::size_t t = 0; t < 5; ++t) {
        kernels_.dot_rows(rows.data() + r * size, 1, tokens.data() + t * stride, 1, stride, size, &alone[r * 5 + t], 1,
                          1);
        double exact = 0;
        for (std::size_t k = 0; k < size; ++k) {
          exact += static_cast<double>(rows[r * size + k]) * static_cast<double>(tokens[t * stride + k]);
        }
        EXPECT_NEAR(alone[r * 5 + t], exact, 1e-5 * std::sqrt(static_cast<double>(size)));
      }
    }
    for (std::size_t row_count = 1; row_count <= kRowTile; ++row_count) {
      for (std::size_t token_count = 1; token_count <= 5; ++token_count) {
        std::vector<float> by_row(kRowTile * 5, -7.0F);
        std::vector<float> by_token(kRowTile * 5, -7.0F);
        kernels_.dot_rows(rows.data(), row_count, tokens.data(), token_count, stride, size, by_row.data(), 5, 1);
        kernels_.dot_rows(rows.data(), row_count, tokens.data(), token_count, stride, size, by_token.data(), 1,
                          kRowTile);
        for (std::size_t r = 0; r < kRowTile; ++r) {
          for (std::size_t t = 0; t < 5; ++t) {
            const bool computed = r < row_count && t < token_count;
            ASSERT_EQ(by_row[r * 5 + t], computed ? alone[r * 5 + t] : -7.0F);
            ASSERT_EQ(by_token[t * kRowTile + r], computed ? alone[r * 5 + t] : -7.0F);
          }
        }
      }
    }
  }
}

struct StoredCase {
  const char* name;
  RowCodes form;
  std::size_t bits;  // per code
  std::size_t group;
  bool offsets;
};

constexpr StoredCase kStoredCases[] = {
    {"F32", RowCodes::kF32, 32, 0, false},
    {"BF16", RowCodes::kBf16, 16, 0, false},
    {"F16", RowCodes::kF16, 16, 0, false},
    {"E4M3", RowCodes::kE4m3, 8, 128, false},
    {"E4M3 by 32", RowCodes::kE4m3, 8, 32, false},
    {"nibbles by 16", RowCodes::kNibbles, 4, 16, false},
    {"nibbles by 32", RowCodes::kNibbles, 4, 32, false},
    {"nibbles by 128", RowCodes::kNibbles, 4, 128, false},
    {"nibbles by 16 with offsets", RowCodes::kNibbles, 4, 16, true},
    {"nibbles by 32 with offsets", RowCodes::kNibbles, 4, 32, true},
    {"nibbles by 128 with offsets", RowCodes::kNibbles, 4, 128, true},
};

// Rows of one form, and their decoded values.
class Stored {
 public:
  Stored(const StoredCase& form, std::size_t size) : size_(size), codes_(kStoredRows * (size * form.bits / 8)) {
    std::uint32_t seed = 5;
    for (std::byte& code : codes_) {
      seed = seed * 1664525U + 1013904223U;
      code = static_cast<std::byte>(seed >> 24);
      // Neither NaN nor infinite: clearing the second highest bit limits the exponent.
      if (form.form != RowCodes::kNibbles) code &= std::byte{0xbf};
    }
    for (std::size_t i = 0; i < 16; ++i) values_.push_back(e2m1_to_float(static_cast<std::uint8_t>(i)));
    rows.form = form.form;
    rows.codes = codes_.data();
    rows.row_bytes = size * form.bits / 8;
    if (form.group == 0) return;
    rows.group = form.group;
    rows.scale_step = (size + form.group - 1) / form.group;
    scales = some_values(kStoredRows * rows.scale_step, 6);
    offsets_ = scales;
    for (float& v : offsets_) v = std::round(v * 8);
    rows.values = values_.data();
    rows.scales = scales.data();
    if (form.offsets) rows.offsets = offsets_.data();
  }

  std::vector<float> decoded(const Kernels& kernels) const {
    std::vector<float> out(kStoredRows * size_);
    for (std::size_t r = 0; r < kStoredRows; ++r) {
      const std::byte* codes = codes_.data() + r * rows.row_bytes;
      const float* row_scales = rows.scales + r * rows.scale_step;
      float* to = out.data() + r * size_;
      switch (rows.form) {
        case RowCodes::kF32:
          std::memcpy(to, codes, size_ * sizeof(float));
          break;
        case RowCodes::kBf16:
          kernels.bf16(codes, size_, to);
          break;
        case RowCodes::kF16:
          kernels.f16(codes, size_, to);
          break;
        case RowCodes::kE4m3:
          kernels.e4m3(codes, row_scales, rows.group, size_, to);
          break;
        case RowCodes::kNibbles:
          kernels.nibbles(codes, rows.values, row_scales,
                          rows.offsets == nullptr ? nullptr : rows.offsets + r * rows.scale_step, rows.group, size_,
                          to);
      }
    }
    return out;
  }

  std::byte& code(std::size_t i) { return codes_[i]; }

  StoredRows rows;
  std::vector<float> scales;

 private:
  std::size_t size_;
  std::vector<std::byte> codes_;
  std::vector<float> values_;
  std::vector<float> offsets_;
};

// Tokens in the order that dot_stored needs.
std::vector<float> as_taken(const Kernels& kernels, RowCodes form, const std::vector<float>& tokens) {
  std::vector<float> out = tokens;
  if (const LaneOrder* order = lane_order(kernels, form)) reorder(*order, tokens.data(), tokens.size(), out.data());
  return out;
}

TEST_P(KernelsTest, OrdersHaveEachElementOnce) {
  for (const LaneOrder* order : {kernels_.bf16_order, kernels_.nibbles_order}) {
    if (order == nullptr) continue;
    std::vector<float> x(2 * kLanes);
    std::iota(x.begin(), x.end(), 0.0F);
    std::vector<float> out(x.size());
    reorder(*order, x.data(), x.size(), out.data());
    EXPECT_EQ(out[kLanes + 1], static_cast<float>(kLanes + (*order)[1]));
    std::ranges::sort(out);
    EXPECT_EQ(out, x);
  }
}

TEST_P(KernelsTest, DotStoredIsBitIdenticalToDecodingAndDotRows) {
  if (kernels_.dot_stored == nullptr) GTEST_SKIP() << kernels_.name << " has no dot_stored";
  constexpr std::size_t kTokens = 70;
  for (const StoredCase& form : kStoredCases) {
    for (const std::size_t size : {32U, 64U, 96U, 192U, 384U, 1024U, 2080U, 6400U}) {
      if (form.group == 128 && form.form == RowCodes::kNibbles && size % 128 != 0) continue;
      const Stored stored(form, size);
      const std::size_t stride = size + 32;
      const std::vector<float> tokens = some_values(kTokens * stride, 2);
      const std::vector<float> given = as_taken(kernels_, form.form, tokens);
      const std::vector<float> decoded = stored.decoded(scalar_kernels());
      std::vector<float> expected(kStoredRows * kTokens);
      for (std::size_t r = 0; r < kStoredRows; ++r) {
        kernels_.dot_rows(decoded.data() + r * size, 1, tokens.data(), kTokens, stride, size,
                          expected.data() + r * kTokens, 1, 1);
      }
      for (const std::size_t row_count : {1U, 2U, 3U, 4U, 5U, 7U, 16U}) {
        for (const std::size_t token_count : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U, 9U, 10U, 11U, 63U, 64U, 65U, 70U}) {
          std::vector<float> out(kStoredRows * kTokens, -7.0F);
          ASSERT_TRUE(kernels_.dot_stored(stored.rows, row_count, given.data(), token_count, stride, size, out.data(),
                                          1, kStoredRows))
              << form.name << " " << size;
          for (std::size_t r = 0; r < kStoredRows; ++r) {
            for (std::size_t t = 0; t < kTokens; ++t) {
              const bool computed = r < row_count && t < token_count;
              ASSERT_EQ(out[t * kStoredRows + r], computed ? expected[r * kTokens + t] : -7.0F)
                  << form.name << " " << size << ": row " << r << " of " << row_count << ", token " << t << " of "
                  << token_count;
            }
          }
        }
      }
    }
  }
}

// Whether products with tokens that `round` rounds are right, within the rounding of float sums; and bit-identical
// whatever other rows and tokens are computed at the same time. `count`: forms that they support.
void expect_right_and_independent(const ConvertedProducts* products, void (*round)(std::span<float>),
                                  std::size_t count) {
  constexpr std::size_t kTokens = 70;
  std::size_t forms = 0;
  for (const StoredCase& form : kStoredCases) {
    for (const std::size_t size : {64U, 128U, 320U, 1024U, 2112U}) {
      if (!products->takes(form.form, form.group, form.offsets, size)) continue;
      if (form.group != 0 && size % form.group != 0) continue;
      forms += size == 1024 ? 1 : 0;
      const Stored stored(form, size);
      const std::vector<float> decoded = stored.decoded(scalar_kernels());
      const std::size_t stride = size + 32;
      std::vector<float> tokens = some_values(kTokens * size, 2);
      std::ranges::fill(std::span(tokens).subspan(size, 32), 0.0F);  // a block of zeros
      std::vector<std::uint16_t> given(kTokens * stride);
      for (std::size_t t = 0; t < kTokens; ++t) {
        products->convert(form.form, form.group, tokens.data() + t * size, size, given.data() + t * stride);
        round({tokens.data() + t * size, size});
      }
      std::vector<float> alone(kStoredRows * kTokens);
      for (std::size_t r = 0; r < kStoredRows; ++r) {
        StoredRows row = stored.rows;
        row.codes += r * row.row_bytes;
        if (row.scales != nullptr) row.scales += r * row.scale_step;
        if (row.offsets != nullptr) row.offsets += r * row.scale_step;
        for (std::size_t t = 0; t < kTokens; ++t) {
          float& out = alone[t * kStoredRows + r];
          products->dot(row, 1, given.data() + t * stride, 1, stride, size, &out, 1, 1);
          double sum = 0;
          double magnitudes = 0;
          for (std::size_t k = 0; k < size; ++k) {
            const double product = static_cast<double>(decoded[r * size + k]) * tokens[t * size + k];
            sum += product;
            magnitudes += std::fabs(product);
          }
          ASSERT_NEAR(out, sum, 2e-6 * magnitudes) << form.name << " " << size;
        }
      }
      for (const std::size_t row_count : {1U, 2U, 3U, 4U, 5U, 7U, 16U}) {
        for (const std::size_t token_count : {1U, 2U, 3U, 4U, 5U, 8U, 9U, 10U, 11U, 48U, 49U, 56U, 70U}) {
          std::vector<float> out(kStoredRows * kTokens, -7.0F);
          products->dot(stored.rows, row_count, given.data(), token_count, stride, size, out.data(), 1, kStoredRows);
          for (std::size_t r = 0; r < kStoredRows; ++r) {
            for (std::size_t t = 0; t < kTokens; ++t) {
              const bool computed = r < row_count && t < token_count;
              ASSERT_EQ(out[t * kStoredRows + r], computed ? alone[t * kStoredRows + r] : -7.0F)
                  << form.name << " " << size << ": row " << r << " of " << row_count << ", token " << t << " of "
                  << token_count;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(forms, count);
}

TEST_P(KernelsTest, Bf16ProductsAreRightAndIndependentOfTheBatch) {
  const ConvertedProducts* const products = kernels_.bf16_products;
  if (products == nullptr) GTEST_SKIP() << kernels_.name << " has no products of BF16 values";
  const auto round = [](std::span<float> x) {
    for (float& v : x) v = round_to_bf16(v);
  };
  expect_right_and_independent(products, round, 5);  // BF16, E4M3 by 128, nibbles by 16, 32 and 128
  Stored stored(kStoredCases[3], 128);
  ASSERT_EQ(stored.rows.form, RowCodes::kE4m3);
  stored.code(77) = std::byte{0xff};
  std::vector<std::uint16_t> token(128, 0x3f80);
  float out = 0;
  products->dot(stored.rows, 1, token.data(), 1, 128, 128, &out, 1, 1);
  EXPECT_TRUE(std::isnan(out));
}

TEST_P(KernelsTest, Int8ProductsAreRightAndIndependentOfTheBatch) {
  const ConvertedProducts* const products = kernels_.int8_products;
  if (products == nullptr) GTEST_SKIP() << kernels_.name << " has no products with 8-bit tokens";
  const auto round = [](std::span<float> x) {
    for (std::size_t k = 0; k < x.size(); k += 32) {
      float largest = 0;
      for (const float v : x.subspan(k, 32)) largest = std::max(largest, std::fabs(v));
      const float scale = largest / 127;
      for (float& v : x.subspan(k, 32)) v = scale == 0 ? 0 : scale * std::nearbyint(v * (1 / scale));
    }
  };
  expect_right_and_independent(products, round, 6);  // nibbles by 16, 32 and 128, and those with offsets
  const Stored stored(kStoredCases[5], 128);
  ASSERT_EQ(stored.rows.form, RowCodes::kNibbles);
  for (const float odd : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> x(128, 1.0F);
    x[77] = odd;
    std::vector<std::uint16_t> token(128);
    products->convert(RowCodes::kNibbles, stored.rows.group, x.data(), 128, token.data());
    float out = 0;
    products->dot(stored.rows, 1, token.data(), 1, 128, 128, &out, 1, 1);
    EXPECT_FALSE(std::isfinite(out)) << odd;
  }
}

// All codes, subnormal ones too.
TEST_P(KernelsTest, Bf16ProductsOfEveryE4m3Code) {
  const ConvertedProducts* const products = kernels_.bf16_products;
  if (products == nullptr) GTEST_SKIP() << kernels_.name << " has no products of BF16 values";
  std::vector<std::byte> codes(64);
  const float scale = 1;
  StoredRows rows{.form = RowCodes::kE4m3, .codes = codes.data(), .row_bytes = 64, .scales = &scale, .group = 64};
  for (unsigned code = 0; code < 256; ++code) {
    for (const std::size_t at : {0UL, 7UL, 8UL, 31UL, 63UL}) {
      std::ranges::fill(codes, std::byte{0});
      codes[at] = static_cast<std::byte>(code);
      std::vector<float> x(64);
      x[at] = -3;
      std::vector<std::uint16_t> token(64);
      products->convert(RowCodes::kE4m3, 64, x.data(), 64, token.data());
      float out = 0;
      products->dot(rows, 1, token.data(), 1, 64, 64, &out, 1, 1);
      const float expected = -3 * e4m3_to_float(static_cast<std::uint8_t>(code));
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(out)) << code;
      } else {
        EXPECT_EQ(out, expected) << code << " at " << at;
      }
    }
  }
}

TEST_P(KernelsTest, DotStoredRefusesUnsupportedRows) {
  if (kernels_.dot_stored == nullptr) GTEST_SKIP() << kernels_.name << " has no dot_stored";
  constexpr std::size_t kSize = 256;
  const std::vector<float> token = some_values(kSize, 2);
  std::vector<float> out(kStoredRows);
  const auto done = [&](const StoredRows& rows, std::size_t size) {
    return kernels_.dot_stored(rows, kStoredRows, token.data(), 1, kSize, size, out.data(), 1, 1);
  };
  for (const StoredCase& form : kStoredCases) {
    const Stored stored(form, kSize);
    EXPECT_TRUE(done(stored.rows, kSize)) << form.name;
    EXPECT_FALSE(done(stored.rows, kSize - 8)) << form.name;
  }
  for (const std::size_t at : {std::size_t{0}, std::size_t{77}, 5 * kSize + 250, kStoredRows * kSize - 1}) {
    for (const std::byte nan : {std::byte{0x7f}, std::byte{0xff}}) {
      Stored stored(kStoredCases[3], kSize);
      stored.code(at) = nan;
      EXPECT_FALSE(done(stored.rows, kSize)) << at;
    }
  }
  for (const float scale : {0x1p120F, -0x1p120F, INFINITY, NAN}) {
    Stored stored(kStoredCases[3], kSize);
    stored.scales[7] = scale;
    EXPECT_FALSE(done(stored.rows, kSize)) << scale;
  }
  Stored odd_group(kStoredCases[6], kSize);
  odd_group.rows.group = 24;
  EXPECT_FALSE(done(odd_group.rows, kSize));
}

TEST_P(KernelsTest, E8m0EveryCodeAtEveryLength) {
  std::vector<std::byte> codes(256);
  for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::byte>(i);
  for (std::size_t size = 0; size <= 256; ++size) {
    std::vector<float> out(size + 1, -7.0F);
    std::vector<float> expected(size + 1, -7.0F);
    kernels_.e8m0(codes.data(), size, out.data());
    for (std::size_t i = 0; i < size; ++i) expected[i] = e8m0_to_float(static_cast<std::uint8_t>(i));
    ASSERT_TRUE(same_bits(out, expected)) << size;
  }
}

// Products of BF16 values are exact in float, so fusing them with the addition makes no difference.
TEST_P(KernelsTest, BitIdenticalToScalarIfProductsAreExact) {
  std::vector<float> rows = some_values(kRowTile * 256, 1);
  std::vector<float> tokens = some_values(3UL * 256, 2);
  for (float& v : rows) v = round_to_bf16(v);
  for (float& v : tokens) v = round_to_bf16(v);
  std::vector<float> out(kRowTile * 3);
  std::vector<float> expected(kRowTile * 3);
  kernels_.dot_rows(rows.data(), kRowTile, tokens.data(), 3, 256, 256, out.data(), 3, 1);
  scalar_kernels().dot_rows(rows.data(), kRowTile, tokens.data(), 3, 256, 256, expected.data(), 3, 1);
  EXPECT_TRUE(same_bits(out, expected));
  for (std::size_t size = 0; size < 50; ++size) {
    std::vector<float> sum(tokens.begin(), tokens.begin() + 60);
    std::vector<float> expected_sum = sum;
    kernels_.add_scaled_rows(rows.data(), rows.data(), 3, 61, size, sum.data());
    scalar_kernels().add_scaled_rows(rows.data(), rows.data(), 3, 61, size, expected_sum.data());
    EXPECT_TRUE(same_bits(sum, expected_sum)) << size;
  }
}

TEST_P(KernelsTest, SumsWithWeights) {
  const std::vector<float> x = some_values(3 * 300UL, 5);
  const std::vector<float> weights = {0.3F, -1.7F, 0.01F};
  for (const std::size_t size : {0UL, 1UL, 31UL, 32UL, 45UL, 64UL, 300UL}) {
    std::vector<float> out(size);
    kernels_.weighted_sum(x.data(), 3, 300, weights.data(), size, out.data());
    for (std::size_t i = 0; i < size; ++i) {
      const float two = weights[0] * x[i] + weights[1] * x[300 + i];
      EXPECT_EQ(out[i], two + weights[2] * x[600 + i]) << size << " " << i;
    }
  }
}

TEST_P(KernelsTest, RoundsToBf16) {
  std::vector<float> x;  // ties and their neighbours, of every exponent and sign; infinities and NaNs
  for (std::uint32_t upper = 0; upper < 0x10000; upper += 0x3f) {
    for (const std::uint32_t lower : {0U, 1U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
      x.push_back(std::bit_cast<float>(upper << 16 | lower));
    }
  }
  x.insert(x.end(), {INFINITY, -INFINITY, NAN, -3.4e38F, std::bit_cast<float>(0x7f800001U)});
  std::vector<float> expected = x;
  for (float& v : expected) v = round_to_bf16(v);
  kernels_.round_bf16(x.data(), x.size());
  EXPECT_TRUE(same_bits(x, expected));
}

TEST_P(KernelsTest, RoundsThroughFp8EachBlockWithItsOwnScale) {
  // The first block's scale is 2^ceil(log2(1300 / 448)) = 4, the second block's is the minimum.
  std::vector<float> x = {1300.0F, 4.0F * 17.0F, 1.0F, 0.0F, 1e-6F, -1e-7F};
  kernels_.round_fp8(x.data(), x.size(), 4);
  EXPECT_EQ(x[0], 1280.0F);       // 325 lies between 320 and 352
  EXPECT_EQ(x[1], 4.0F * 16.0F);  // 17 is a tie between 16 and 18
  EXPECT_EQ(x[2], 1.0F);
  EXPECT_EQ(x[3], 0.0F);
  const float floor_scale = 0x1p-22F;  // the smallest power of two that is at least 1e-4 / 448
  EXPECT_EQ(std::fmod(x[4], floor_scale * 0x1p-9F), 0.0F);
  EXPECT_NEAR(x[4], 1e-6F, 1e-7F);
  const std::vector<float> kept = x;
  kernels_.round_fp8(x.data(), x.size(), 4);
  EXPECT_EQ(x, kept);

  for (std::size_t size = 120; size < 300; size += 37) {
    std::vector<float> values = some_values(size, 3);
    for (std::size_t i = 0; i < size; ++i) values[i] *= std::ldexp(1.0F, static_cast<int>(i % 40) - 30);
    values[size / 2] = NAN;
    std::vector<float> expected = values;
    for (std::size_t begin = 0; begin < size; begin += 128) {
      const std::size_t end = std::min(begin + 128, size);
      const std::span<float> part = std::span(expected).subspan(begin, end - begin);
      if (std::ranges::any_of(part, [](float v) { return std::isnan(v); })) continue;
      float amax = 1e-4F;
      for (const float v : part) amax = std::max(amax, std::fabs(v));
      const float scale = power_of_two_at_least(amax * (1.0F / kE4m3Max));
      for (float& v : part) v = round_to_e4m3(v / scale) * scale;
    }
    kernels_.round_fp8(values.data(), size, 128);
    EXPECT_TRUE(std::isnan(values[size / 2]));
    for (std::size_t i = 0; i < size; ++i) {
      if (i / 128 == size / 2 / 128) continue;
      EXPECT_EQ(values[i], expected[i]) << size << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Paths, KernelsTest,
                         ::testing::ValuesIn(available_kernels().begin(), available_kernels().end()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(Kernels, TheEnvironmentVariableSelectsThePath) {
  setenv("OUTRIDER_KERNELS", "scalar", 1);
  EXPECT_EQ(default_kernels().name, "scalar");
  setenv("OUTRIDER_KERNELS", "sse9", 1);
  EXPECT_THROW(default_kernels(), Error);
  unsetenv("OUTRIDER_KERNELS");
  EXPECT_EQ(&default_kernels(), available_kernels().back());
}

}  // namespace
}  // namespace outrider
