#include <algorithm>
#include <cstring>

#include "outrider/checkpoint/number_formats.h"
#include "outrider/kernels/elementwise.h"
#include "outrider/kernels/kernels.h"

// The reference for the other paths, in plain C++ for any x86-64.

namespace outrider {
namespace {

float dot(const float* a, const float* b, std::size_t size) {
  float lanes[kLanes] = {};
  for (std::size_t k = 0; k < size; k += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += a[k + l] * b[k + l];
  }
  for (std::size_t half = kLanes / 2; half != 0; half /= 2) {
    for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

void dot_rows(const float* rows, std::size_t row_count, const float* tokens, std::size_t token_count,
              std::size_t token_stride, std::size_t size, float* out, std::size_t row_step, std::size_t token_step) {
  for (std::size_t r = 0; r < row_count; ++r) {
    for (std::size_t t = 0; t < token_count; ++t) {
      out[r * row_step + t * token_step] = dot(rows + r * size, tokens + t * token_stride, size);
    }
  }
}

void add_scaled_rows(const float* factors, const float* x, std::size_t rows, std::size_t step, std::size_t size,
                     float* out) {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t i = 0; i < size; ++i) out[i] += factors[r] * x[r * step + i];
  }
}

std::uint16_t load16(const std::byte* at) {
  std::uint16_t v = 0;
  std::memcpy(&v, at, sizeof v);
  return v;
}

void bf16(const std::byte* in, std::size_t size, float* out) {
  for (std::size_t i = 0; i < size; ++i) out[i] = bf16_to_float(load16(in + 2 * i));
}

void f16(const std::byte* in, std::size_t size, float* out) {
  for (std::size_t i = 0; i < size; ++i) out[i] = f16_to_float(load16(in + 2 * i));
}

void e4m3(const std::byte* codes, const float* scales, std::size_t block, std::size_t size, float* out) {
  for (std::size_t begin = 0; begin < size; begin += block, ++scales) {
    const std::size_t end = std::min(begin + block, size);
    for (std::size_t i = begin; i < end; ++i) out[i] = e4m3_to_float(static_cast<std::uint8_t>(codes[i])) * *scales;
  }
}

void e8m0(const std::byte* codes, std::size_t size, float* out) {
  for (std::size_t i = 0; i < size; ++i) out[i] = e8m0_to_float(static_cast<std::uint8_t>(codes[i]));
}

void nibbles(const std::byte* codes, const float* values, const float* scales, const float* offsets, std::size_t group,
             std::size_t size, float* out) {
  for (std::size_t begin = 0; begin < size; begin += group, ++scales) {
    const std::size_t end = std::min(begin + group, size);
    const float offset = offsets == nullptr ? 0.0F : *offsets++;
    for (std::size_t i = begin; i < end; ++i) {
      const unsigned byte = static_cast<std::uint8_t>(codes[i / 2]);
      out[i] = (values[i % 2 == 0 ? byte & 15U : byte >> 4] - offset) * *scales;
    }
  }
}

}  // namespace

const Kernels& scalar_kernels() {
  static constexpr Kernels kKernels = {"scalar",     nullptr,    nullptr,   dot_rows, nullptr, add_scaled_rows,
                                       weighted_sum, round_bf16, round_fp8, nullptr,  bf16,    f16,
                                       e4m3,         e8m0,       nibbles};
  return kKernels;
}

}  // namespace outrider
