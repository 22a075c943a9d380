#include "outrider/architectures/deepseek_v4/narrow_head.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "outrider/backend/cpu/cpu_backend.h"
#include "outrider/math/top_k.h"

namespace outrider {
namespace {

// A head [V, D] in BF16 of pseudorandom values.
class Head {
 public:
  Head(std::size_t rows, std::size_t cols) : bytes_(2 * rows * cols) {
    std::uint32_t seed = 1;
    for (std::size_t i = 0; i < rows * cols; ++i) {
      seed = seed * 1664525U + 1013904223U;
      const std::uint16_t code = static_cast<std::uint16_t>(0x3c00U | (seed >> 8 & 0x81ffU));  // about ±0.01 to ±0.1
      std::memcpy(bytes_.data() + 2 * i, &code, 2);
    }
    MatrixTensors tensors;
    tensors[Component::kWeight] = {bytes_, Dtype::kBF16};
    linear_ = Linear(stored_matrix(StorageForm::kPlain, {rows, cols, {}}, tensors));
  }
  const Linear& linear() const { return linear_; }

 private:
  std::vector<std::byte> bytes_;
  Linear linear_;
};

TEST(NarrowHead, ApproximatesLogitsAndComputesTheHighestExactly) {
  constexpr std::size_t kVocab = 1000;  // the last block of rows is not full
  constexpr std::size_t kTokens = 3;
  const Head head(kVocab, 256);
  ASSERT_TRUE(NarrowHead::possible(head.linear()));
  const NarrowHead narrow(head.linear());
  CpuBackend backend(NumericMode::kOfficial, 2, default_kernels());
  Rows x(kTokens, 256);
  for (std::size_t t = 0; t < kTokens; ++t) {
    for (std::size_t i = 0; i < 256; ++i) x[t][i] = std::sin(static_cast<float>(3 * t + i));
  }
  Rows logits(kTokens, kVocab);
  Rows exact(kTokens, kVocab);
  narrow.multiply(backend, x, logits);
  backend.multiply(head.linear(), x, exact, ProductKind::kFloat);
  for (std::size_t t = 0; t < kTokens; ++t) {
    double error = 0;
    double size = 0;
    std::size_t equal = 0;
    for (std::size_t v = 0; v < kVocab; ++v) {
      error += std::pow(logits[t][v] - exact[t][v], 2);
      size += std::pow(exact[t][v], 2);
      equal += logits[t][v] == exact[t][v] ? 1 : 0;
    }
    EXPECT_LT(error, 0.03 * size);
    EXPECT_GE(equal, NarrowHead::kCandidates);
    EXPECT_LT(equal, 2 * NarrowHead::kCandidates);
    EXPECT_EQ(top_k(logits[t], 1), top_k(exact[t], 1));
  }
}

TEST(NarrowHead, IsForWideHeadsOfWholeGroups) {
  EXPECT_FALSE(NarrowHead::possible(Head(8, 48).linear()));
  EXPECT_TRUE(NarrowHead::possible(Head(8, 64).linear()));
}

}  // namespace
}  // namespace outrider
