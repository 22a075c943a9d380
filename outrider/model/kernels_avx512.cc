#ifdef __x86_64__

#include <immintrin.h>

#include "outrider/model/kernels_simd.h"

// Built for AVX-512 (F, BW, VL, DQ) whatever the rest is built for: nothing here may run, or be inlined elsewhere,
// before the processor was asked. Hence no templates or inline functions of others, the intrinsics aside.

namespace outrider {
namespace {

std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}

float sum(__m512 low, __m512 high) {
  const __m512 v16 = _mm512_add_ps(low, high);
  const __m256 v8 = _mm256_add_ps(_mm512_castps512_ps256(v16), _mm512_extractf32x8_ps(v16, 1));
  const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v2, _mm_shuffle_ps(v2, v2, 1)));
}

template <int kRows, int kTokens>
void tile(const float* rows, const float* tokens, std::size_t token_stride, std::size_t size, float* out,
          std::size_t row_step, std::size_t token_step) {
  __m512 low[kRows][kTokens];
  __m512 high[kRows][kTokens];
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) low[r][t] = high[r][t] = _mm512_setzero_ps();
  }
  for (std::size_t k = 0; k < size; k += kLanes) {
    __m512 token_low[kTokens];
    __m512 token_high[kTokens];
    for (int t = 0; t < kTokens; ++t) {
      const float* token = tokens + static_cast<std::size_t>(t) * token_stride + k;
      token_low[t] = _mm512_loadu_ps(token);
      token_high[t] = _mm512_loadu_ps(token + 16);
    }
    for (int r = 0; r < kRows; ++r) {
      const float* row = rows + static_cast<std::size_t>(r) * size + k;
      const __m512 row_low = _mm512_loadu_ps(row);
      const __m512 row_high = _mm512_loadu_ps(row + 16);
      for (int t = 0; t < kTokens; ++t) {
        low[r][t] = _mm512_fmadd_ps(row_low, token_low[t], low[r][t]);
        high[r][t] = _mm512_fmadd_ps(row_high, token_high[t], high[r][t]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) {
      out[static_cast<std::size_t>(r) * row_step + static_cast<std::size_t>(t) * token_step] =
          sum(low[r][t], high[r][t]);
    }
  }
}

template <int kRows>
void tiles(const float* rows, const float* tokens, std::size_t token_count, std::size_t token_stride, std::size_t size,
           float* out, std::size_t row_step, std::size_t token_step) {
  std::size_t t = 0;
  for (; t + 2 <= token_count; t += 2) {
    tile<kRows, 2>(rows, tokens + t * token_stride, token_stride, size, out + t * token_step, row_step, token_step);
  }
  if (t < token_count)
    tile<kRows, 1>(rows, tokens + t * token_stride, token_stride, size, out + t * token_step, row_step, token_step);
}

void dot_rows(const float* rows, std::size_t row_count, const float* tokens, std::size_t token_count,
              std::size_t token_stride, std::size_t size, float* out, std::size_t row_step, std::size_t token_step) {
  switch (row_count) {
    case 1:
      return tiles<1>(rows, tokens, token_count, token_stride, size, out, row_step, token_step);
    case 2:
      return tiles<2>(rows, tokens, token_count, token_stride, size, out, row_step, token_step);
    case 3:
      return tiles<3>(rows, tokens, token_count, token_stride, size, out, row_step, token_step);
    default:
      return tiles<4>(rows, tokens, token_count, token_stride, size, out, row_step, token_step);
  }
}

// The first `count` of 16 lanes.
__mmask16 first(std::size_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffffU : (1U << count) - 1U);
}

void add_scaled(float factor, const float* x, std::size_t size, float* out) {
  const __m512 f = _mm512_set1_ps(factor);
  for (std::size_t i = 0; i < size; i += 16) {
    const __mmask16 m = first(size - i);
    const __m512 y = _mm512_fmadd_ps(f, _mm512_maskz_loadu_ps(m, x + i), _mm512_maskz_loadu_ps(m, out + i));
    _mm512_mask_storeu_ps(out + i, m, y);
  }
}

void bf16(const std::byte* in, std::size_t size, float* out) {
  for (std::size_t i = 0; i < size; i += 16) {
    const __mmask16 m = first(size - i);
    const __m256i codes = _mm256_maskz_loadu_epi16(m, in + 2 * i);
    const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(codes), 16);
    _mm512_mask_storeu_ps(out + i, m, _mm512_castsi512_ps(bits));
  }
}

void f16(const std::byte* in, std::size_t size, float* out) {
  for (std::size_t i = 0; i < size; i += 16) {
    const __mmask16 m = first(size - i);
    _mm512_mask_storeu_ps(out + i, m, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, in + 2 * i)));
  }
}

void e4m3(const std::byte* codes, const float* scales, std::size_t block, std::size_t size, float* out) {
  const __m512 nan = _mm512_set1_ps(__builtin_nanf(""));
  for (std::size_t begin = 0; begin < size; begin += block, ++scales) {
    const std::size_t end = smaller(begin + block, size);
    // As an FP16 with its sign moved, a code is its value * 2^-8.
    const __m512 unit = _mm512_set1_ps(0x1p8F);
    const __m512 scale = _mm512_set1_ps(*scales);
    for (std::size_t i = begin; i < end; i += 16) {
      const __mmask16 m = first(end - i);
      const __m128i bytes = _mm_maskz_loadu_epi8(m, codes + i);
      const __m256i wide = _mm256_cvtepu8_epi16(bytes);
      const __m256i magnitude = _mm256_and_si256(wide, _mm256_set1_epi16(0x7f));
      const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
      const __m512 value = _mm512_cvtph_ps(_mm256_or_si256(_mm256_slli_epi16(magnitude, 7), sign));
      const __mmask16 is_nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7f));
      const __m512 scaled = _mm512_mul_ps(_mm512_mul_ps(value, unit), scale);
      _mm512_mask_storeu_ps(out + i, m, _mm512_mask_mov_ps(scaled, is_nan, nan));
    }
  }
}

void nibbles(const std::byte* codes, const float* values, const float* scales, const float* offsets, std::size_t group,
             std::size_t size, float* out) {
  if (group % 16 != 0 || size % 16 != 0) {
    scalar_kernels().nibbles(codes, values, scales, offsets, group, size, out);
    return;
  }
  const __m512 table = _mm512_loadu_ps(values);
  for (std::size_t begin = 0; begin < size; begin += group, ++scales) {
    const std::size_t end = smaller(begin + group, size);
    const __m512 scale = _mm512_set1_ps(*scales);
    const __m512 offset = _mm512_set1_ps(offsets == nullptr ? 0.0F : *offsets++);
    for (std::size_t i = begin; i < end; i += 16) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i / 2));
      const __m128i pairs = _mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4));
      const __m512i indices = _mm512_cvtepu8_epi32(_mm_and_si128(pairs, _mm_set1_epi8(15)));
      const __m512 value = _mm512_permutexvar_ps(indices, table);
      _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_sub_ps(value, offset), scale));
    }
  }
}

}  // namespace

const Kernels& avx512_kernels() {
  static constexpr Kernels kKernels = {"avx512", dot_rows, add_scaled, bf16, f16, e4m3, nibbles};
  return kKernels;
}

}  // namespace outrider

#endif
