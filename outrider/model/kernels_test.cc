// Every path against the scalar one: each code of each format, each length, each number of rows.

#include "outrider/model/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "outrider/model/number_formats.h"
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
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) return false;
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

// What a product comes to must not depend on how many rows or tokens are computed with it.
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

// Products of BF16 values are exact in float, so it makes no difference whether they are fused with the addition.
TEST_P(KernelsTest, SameBitsAsScalarWhereProductsAreExact) {
  std::vector<float> rows = some_values(kRowTile * 256, 1);
  std::vector<float> tokens = some_values(3 * 256, 2);
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
    kernels_.add_scaled(rows[1], rows.data(), size, sum.data());
    scalar_kernels().add_scaled(rows[1], rows.data(), size, expected_sum.data());
    EXPECT_TRUE(same_bits(sum, expected_sum)) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(Paths, KernelsTest,
                         ::testing::ValuesIn(available_kernels().begin(), available_kernels().end()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(Kernels, TheEnvironmentChooses) {
  setenv("OUTRIDER_KERNELS", "scalar", 1);
  EXPECT_EQ(default_kernels().name, "scalar");
  setenv("OUTRIDER_KERNELS", "sse9", 1);
  EXPECT_THROW(default_kernels(), Error);
  unsetenv("OUTRIDER_KERNELS");
  EXPECT_EQ(&default_kernels(), available_kernels().back());
}

}  // namespace
}  // namespace outrider
