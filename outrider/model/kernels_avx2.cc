#ifdef __x86_64__

#include <immintrin.h>

#include "outrider/model/kernels_simd.h"

// Built for AVX2, FMA and F16C whatever the rest is built for: see kernels_avx512.cc.

namespace outrider {
namespace {

constexpr int kVectors = static_cast<int>(kLanes) / 8;

std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}

float sum(const __m256 (&lanes)[kVectors]) {
  const __m256 low = _mm256_add_ps(lanes[0], lanes[2]);
  const __m256 high = _mm256_add_ps(lanes[1], lanes[3]);
  const __m256 v8 = _mm256_add_ps(low, high);
  const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v2, _mm_shuffle_ps(v2, v2, 1)));
}

template <int kRows>
void tile(const float* rows, const float* token, std::size_t size, float* out, std::size_t row_step) {
  __m256 lanes[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) lanes[r][v] = _mm256_setzero_ps();
  }
  for (std::size_t k = 0; k < size; k += kLanes) {
    for (int v = 0; v < kVectors; ++v) {
      const std::size_t at = k + static_cast<std::size_t>(v) * 8;
      const __m256 x = _mm256_loadu_ps(token + at);
      for (int r = 0; r < kRows; ++r) {
        const __m256 w = _mm256_loadu_ps(rows + static_cast<std::size_t>(r) * size + at);
        lanes[r][v] = _mm256_fmadd_ps(w, x, lanes[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) out[static_cast<std::size_t>(r) * row_step] = sum(lanes[r]);
}

void dot_rows(const float* rows, std::size_t row_count, const float* tokens, std::size_t token_count,
              std::size_t token_stride, std::size_t size, float* out, std::size_t row_step, std::size_t token_step) {
  std::size_t r = 0;
  for (; r + 2 <= row_count; r += 2) {
    for (std::size_t t = 0; t < token_count; ++t) {
      tile<2>(rows + r * size, tokens + t * token_stride, size, out + r * row_step + t * token_step, row_step);
    }
  }
  if (r == row_count) return;
  for (std::size_t t = 0; t < token_count; ++t) {
    tile<1>(rows + r * size, tokens + t * token_stride, size, out + r * row_step + t * token_step, row_step);
  }
}

void add_scaled(float factor, const float* x, std::size_t size, float* out) {
  const __m256 f = _mm256_set1_ps(factor);
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_fmadd_ps(f, _mm256_loadu_ps(x + i), _mm256_loadu_ps(out + i)));
  }
  for (; i < size; ++i) out[i] = __builtin_fmaf(factor, x[i], out[i]);
}

__m128i load(const std::byte* at) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}

void bf16(const std::byte* in, std::size_t size, float* out) {
  const std::size_t whole = size / 8 * 8;
  for (std::size_t i = 0; i < whole; i += 8) {
    const __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load(in + 2 * i)), 16);
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(bits));
  }
  scalar_kernels().bf16(in + 2 * whole, size - whole, out + whole);
}

void f16(const std::byte* in, std::size_t size, float* out) {
  const std::size_t whole = size / 8 * 8;
  for (std::size_t i = 0; i < whole; i += 8) _mm256_storeu_ps(out + i, _mm256_cvtph_ps(load(in + 2 * i)));
  scalar_kernels().f16(in + 2 * whole, size - whole, out + whole);
}

void e4m3(const std::byte* codes, const float* scales, std::size_t block, std::size_t size, float* out) {
  const __m128i low7 = _mm_set1_epi16(0x7f);
  for (std::size_t begin = 0; begin < size; begin += block, ++scales) {
    const std::size_t end = smaller(begin + block, size);
    // As an FP16 with its sign moved, a code is its value * 2^-8.
    const __m256 unit = _mm256_set1_ps(0x1p8F);
    const __m256 scale = _mm256_set1_ps(*scales);
    std::size_t i = begin;
    for (; i + 8 <= end; i += 8) {
      const __m128i wide = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)));
      const __m128i magnitude = _mm_and_si128(wide, low7);
      const __m128i sign = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x80)), 8);
      const __m256 value = _mm256_cvtph_ps(_mm_or_si128(_mm_slli_epi16(magnitude, 7), sign));
      const __m256i is_nan = _mm256_cvtepi16_epi32(_mm_cmpeq_epi16(magnitude, low7));
      const __m256 scaled = _mm256_mul_ps(_mm256_mul_ps(value, unit), scale);
      _mm256_storeu_ps(out + i, _mm256_or_ps(scaled, _mm256_castsi256_ps(is_nan)));
    }
    scalar_kernels().e4m3(codes + i, scales, block, end - i, out + i);
  }
}

void nibbles(const std::byte* codes, const float* values, const float* scales, const float* offsets, std::size_t group,
             std::size_t size, float* out) {
  if (group % 16 != 0 || size % 16 != 0) {
    scalar_kernels().nibbles(codes, values, scales, offsets, group, size, out);
    return;
  }
  const __m256 lower = _mm256_loadu_ps(values);
  const __m256 upper = _mm256_loadu_ps(values + 8);
  for (std::size_t begin = 0; begin < size; begin += group, ++scales) {
    const std::size_t end = smaller(begin + group, size);
    const __m256 scale = _mm256_set1_ps(*scales);
    const __m256 offset = _mm256_set1_ps(offsets == nullptr ? 0.0F : *offsets++);
    for (std::size_t i = begin; i < end; i += 16) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i / 2));
      const __m128i pairs = _mm_and_si128(_mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4)), _mm_set1_epi8(15));
      for (int half = 0; half < 2; ++half) {
        const __m256i indices = _mm256_cvtepu8_epi32(half == 0 ? pairs : _mm_srli_si128(pairs, 8));
        // Bit 3 of an index, moved to the sign, chooses between the halves of the table.
        const __m256 value =
            _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, indices), _mm256_permutevar8x32_ps(upper, indices),
                             _mm256_castsi256_ps(_mm256_slli_epi32(indices, 28)));
        _mm256_storeu_ps(out + i + 8 * half, _mm256_mul_ps(_mm256_sub_ps(value, offset), scale));
      }
    }
  }
}

}  // namespace

const Kernels& avx2_kernels() {
  static const Kernels kKernels = {"avx2", dot_rows, nullptr, 0, add_scaled, bf16, f16, e4m3, scalar_kernels().e8m0,
                                   nibbles};
  return kKernels;
}

}  // namespace outrider

#endif
