#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/kernels/kernels.h"
#include "outrider/math/rounding.h"
#include "outrider/util/thread_pool.h"

namespace outrider {

// Context of every operation on the CPU.
struct Compute {
  const Kernels& kernels;
  ThreadPool& pool;
  NumericMode mode;
  std::uint64_t* weight_bytes = nullptr;  // counts the bytes of weights that products read

  bool rounds() const { return mode != NumericMode::kExact; }  // values between operations, to BF16
  void round(std::span<float> x) const {
    if (rounds()) kernels.round_bf16(x.data(), x.size());
  }
  float dot(const float* a, const float* b, std::size_t padded_size) const {
    float out = 0;
    kernels.dot_rows(a, 1, b, 1, 0, padded_size, &out, 1, 1);
    return out;
  }
};

}  // namespace outrider
