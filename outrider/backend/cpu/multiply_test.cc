#include "outrider/backend/cpu/multiply.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

namespace outrider {
namespace {

// Compares products of parts of several matrices, computed at once, with rows that are decoded and multiplied one by
// one. One matrix has a NaN code, another a number of columns that is not a multiple of the vector length.
TEST(Multiply, PartsOfSeveralMatricesAreBitIdentical) {
  constexpr std::size_t kRows = 150;
  constexpr std::size_t kTokens = 19;
  std::vector<std::byte> bytes(kRows * 256);
  std::uint32_t seed = 3;
  for (std::byte& b : bytes) {
    seed = seed * 1664525U + 1013904223U;
    b = static_cast<std::byte>(seed >> 24) & std::byte{0xbf};
  }
  bytes[70 * 256 + 8] = std::byte{0x7f};
  const std::vector<std::byte> scales(kRows * 8, std::byte{120});
  const auto matrix = [&](StorageForm form, std::size_t cols, std::size_t bits, std::size_t rows, std::size_t group) {
    StoredMatrix m;
    m.form = form;
    m.dtype = Dtype::kBF16;
    m.rows = kRows;
    m.cols = cols;
    m.codes = bytes.data();
    m.row_bytes = cols * bits / 8;
    m.scales = scales.data();
    m.scale_dtype = Dtype::kF8E8M0;
    m.block_rows = rows;
    m.block_cols = group;
    return Linear(std::move(m));
  };
  const Linear fp8 = matrix(StorageForm::kFp8Block, 256, 8, 128, 128);
  const Linear fp4 = matrix(StorageForm::kMxfp4, 256, 4, 1, 32);
  const Linear bf16 = matrix(StorageForm::kPlain, 100, 16, 1, 1);
  Rows x(kTokens + 2, 512);
  for (std::size_t t = 0; t < x.rows(); ++t) {
    for (std::size_t c = 0; c < 512; ++c) x[t][c] = static_cast<float>((t * 31 + c * 17) % 23) - 11.0F;
  }
  ConvertedInputs converted;
  const std::vector<std::uint32_t> x_rows = {4, 0, 20, 4};
  for (const Kernels* kernels : available_kernels()) {
    for (const unsigned threads : {1U, 3U}) {
      for (const NumericMode mode : {NumericMode::kExact, NumericMode::kOfficial}) {
        ThreadPool pool(threads);
        const Compute compute{*kernels, pool, mode};
        Rows a(kTokens, kRows);
        Rows b(kTokens, 2 * kRows);
        Rows c(kTokens, kRows);
        const std::vector<Product> products = {
            {.weight = fp8, .x = x, .y = a, .kind = ProductKind::kFloat, .x_row = 2, .x_col = 256},
            {.weight = fp4, .x = x, .y = b, .kind = ProductKind::kFloat, .first = 10, .rows = 140, .y_col = 5},
            {.weight = bf16, .x = x, .y = b, .kind = ProductKind::kFloat, .rows = kRows, .x_col = 7, .y_col = kRows},
            {.weight = fp8, .x = x, .y = c, .kind = ProductKind::kFloat, .tokens = 3, .x_row = 1},
            {.weight = fp4, .x = x, .y = c, .kind = ProductKind::kFloat, .tokens = 4, .x_rows = x_rows, .y_row = 3},
        };
        multiply(compute, products, converted);
        std::vector<float> row(256);
        std::vector<float> scratch;
        Rows in(1, 256);
        for (const Product& p : products) {
          for (std::size_t r = 0; r < (p.rows == 0 ? kRows : p.rows); ++r) {
            p.weight.decode(*kernels, p.first + r, row.data(), scratch);
            for (std::size_t t = 0; t < (p.tokens == 0 ? kTokens : p.tokens); ++t) {
              const std::size_t from = p.x_rows.empty() ? t + p.x_row : p.x_rows[t];
              std::fill_n(in.data(), 256, 0.0F);
              std::copy_n(x[from].data() + p.x_col, p.weight.cols(), in.data());
              const float expected = compute.dot(row.data(), in.data(), padded(p.weight.cols()));
              const float got = p.y[p.y_row + t][p.y_col + r];
              if (std::isnan(expected)) {
                EXPECT_TRUE(std::isnan(got));
                EXPECT_TRUE(&p.weight == &fp8 && r == 70);
              } else {
                ASSERT_EQ(got, expected) << kernels->name << " " << threads << " threads, row " << r << ", token " << t;
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace outrider
