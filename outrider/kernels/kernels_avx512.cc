#ifdef __x86_64__

#include <immintrin.h>

#include "outrider/kernels/dot_stored.h"
#include "outrider/kernels/elementwise.h"
#include "outrider/kernels/int8_products.h"
#include "outrider/kernels/kernels_simd.h"

// Compiled for AVX-512 (F, BW, VL, DQ), whatever the target of the other files: nothing here may run, or be inlined
// elsewhere, before the CPU's features were checked. For this reason it uses no templates or inline functions from
// other headers, except the intrinsics.

namespace outrider {
namespace {

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

// Mask of the first `count` of 16 lanes.
__mmask16 first(std::size_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffffU : (1U << count) - 1U);
}

template <std::size_t kVectors>
void add_scaled_columns(const float* factors, const float* x, std::size_t rows, std::size_t step, __mmask16 last,
                        float* out) {
  const auto mask = [&](std::size_t v) { return v + 1 < kVectors ? __mmask16{0xffff} : last; };
  __m512 sums[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) sums[v] = _mm512_maskz_loadu_ps(mask(v), out + 16 * v);
  for (std::size_t r = 0; r < rows; ++r) {
    const __m512 factor = _mm512_set1_ps(factors[r]);
    for (std::size_t v = 0; v < kVectors; ++v) {
      sums[v] = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(mask(v), x + r * step + 16 * v), sums[v]);
    }
  }
  for (std::size_t v = 0; v < kVectors; ++v) _mm512_mask_storeu_ps(out + 16 * v, mask(v), sums[v]);
}

void add_scaled_rows(const float* factors, const float* x, std::size_t rows, std::size_t step, std::size_t size,
                     float* out) {
  std::size_t i = 0;
  for (; i + 64 <= size; i += 64) add_scaled_columns<4>(factors, x + i, rows, step, 0xffff, out + i);
  for (; i < size; i += 16) add_scaled_columns<1>(factors, x + i, rows, step, first(size - i), out + i);
}

void bf16(const std::byte* in, std::size_t size, float* out) {
  std::size_t i = 0;
  for (; i + 32 <= size; i += 32) {
    prefetch(in + 2 * i);
    const __m512i codes = _mm512_loadu_si512(in + 2 * i);
    const __m512i low = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(codes, 0));
    const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(codes, 1));
    _mm512_storeu_ps(out + i, _mm512_castsi512_ps(_mm512_slli_epi32(low, 16)));
    _mm512_storeu_ps(out + i + 16, _mm512_castsi512_ps(_mm512_slli_epi32(high, 16)));
  }
  scalar_kernels().bf16(in + 2 * i, size - i, out + i);
}

void f16(const std::byte* in, std::size_t size, float* out) {
  for (std::size_t i = 0; i < size; i += 16) {
    const __mmask16 m = first(size - i);
    _mm512_mask_storeu_ps(out + i, m, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, in + 2 * i)));
  }
}

void e4m3(const std::byte* codes, const float* scales, std::size_t block, std::size_t size, float* out) {
  const __m512i low7 = _mm512_set1_epi16(0x7f);
  for (std::size_t begin = 0; begin < size; begin += block, ++scales) {
    const std::size_t end = smaller(begin + block, size);
    // Interpreted as FP16 with its sign moved, a code is its value * 2^-8.
    const __m512 unit = _mm512_set1_ps(0x1p8F);
    const __m512 scale = _mm512_set1_ps(*scales);
    __mmask32 any_nan = 0;
    std::size_t i = begin;
    for (; i + 32 <= end; i += 32) {
      if (i % 64 == 0) prefetch(codes + i);
      const __m512i wide = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i)));
      const __m512i magnitude = _mm512_and_si512(wide, low7);
      any_nan |= _mm512_cmpeq_epi16_mask(magnitude, low7);
      const __m512i sign = _mm512_slli_epi16(_mm512_andnot_si512(low7, wide), 8);
      const __m512i half = _mm512_or_si512(_mm512_slli_epi16(magnitude, 7), sign);
      const __m512 low = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 0));
      const __m512 high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1));
      _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_mul_ps(low, unit), scale));
      _mm512_storeu_ps(out + i + 16, _mm512_mul_ps(_mm512_mul_ps(high, unit), scale));
    }
    if (any_nan != 0) i = begin;
    scalar_kernels().e4m3(codes + i, scales, block, end - i, out + i);
  }
}

void e8m0(const std::byte* codes, std::size_t size, float* out) {
  for (std::size_t i = 0; i < size; i += 16) {
    const __mmask16 m = first(size - i);
    const __m512i code = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, codes + i));
    __m512i bits = _mm512_slli_epi32(code, 23);
    bits = _mm512_mask_mov_epi32(bits, _mm512_testn_epi32_mask(code, code), _mm512_set1_epi32(0x00400000));
    bits = _mm512_mask_mov_epi32(bits, _mm512_cmpeq_epi32_mask(code, _mm512_set1_epi32(255)),
                                 _mm512_set1_epi32(0x7fc00000));
    _mm512_mask_storeu_ps(out + i, m, _mm512_castsi512_ps(bits));
  }
}

template <bool kOffsets>
void grouped_nibbles(const std::byte* codes, const float* values, const float* scales, const float* offsets,
                     std::size_t group, std::size_t size, float* out) {
  const __m512 table = _mm512_loadu_ps(values);
  for (std::size_t begin = 0; begin < size; begin += group, ++scales) {
    const std::size_t end = smaller(begin + group, size);
    const __m512 scale = _mm512_set1_ps(*scales);
    const __m512 offset = kOffsets ? _mm512_set1_ps(*offsets++) : _mm512_setzero_ps();
    for (std::size_t i = begin; i < end; i += 16) {
      if (i % 128 == 0) prefetch(codes + i / 2);
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i / 2));
      const __m128i pairs = _mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4));
      // The permutation reads the lowest four bits of an index.
      __m512 value = _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(pairs), table);
      if constexpr (kOffsets) value = _mm512_sub_ps(value, offset);
      _mm512_storeu_ps(out + i, _mm512_mul_ps(value, scale));
    }
  }
}

void nibbles(const std::byte* codes, const float* values, const float* scales, const float* offsets, std::size_t group,
             std::size_t size, float* out) {
  if (group % 16 != 0 || size % 16 != 0) {
    scalar_kernels().nibbles(codes, values, scales, offsets, group, size, out);
  } else if (offsets == nullptr) {
    grouped_nibbles<false>(codes, values, scales, offsets, group, size, out);
  } else {
    grouped_nibbles<true>(codes, values, scales, offsets, group, size, out);
  }
}

// The order in which pairs of codes are decoded: first the even elements, then the odd ones.
constexpr LaneOrder kEvenOdd = {{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31}};

struct Avx512 {
  static constexpr std::size_t rows_at_once(std::size_t tokens) { return tokens == 1 ? 1 : tokens == 2 ? 4 : 2; }
  static constexpr std::size_t kFewTokens = 4;
  static constexpr std::size_t kPanelFrom = 9;
  static constexpr std::size_t kWidth = 16;
  static constexpr std::size_t kPanelTokens = 6;

  struct Vector {
    static Vector load(const float* at) { return {_mm512_loadu_ps(at)}; }
    void store(float* at) const { _mm512_storeu_ps(at, v); }
    void add_product(const Vector& weights, const Vector& x) { v = _mm512_fmadd_ps(weights.v, x.v, v); }

    __m512 v;
  };

  struct Lanes {
    static Lanes zero() { return {_mm512_setzero_ps(), _mm512_setzero_ps()}; }
    static Lanes load(const float* at) { return {_mm512_loadu_ps(at), _mm512_loadu_ps(at + 16)}; }
    void store(float* at) const {
      _mm512_storeu_ps(at, low);
      _mm512_storeu_ps(at + 16, high);
    }
    void add_product(const Lanes& weights, const float* x) {
      low = _mm512_fmadd_ps(weights.low, _mm512_loadu_ps(x), low);
      high = _mm512_fmadd_ps(weights.high, _mm512_loadu_ps(x + 16), high);
    }
    float total() const { return sum(low, high); }
    // Of sums in the order kEvenOdd.
    float total_reordered() const {
      const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
      return sum(_mm512_permutex2var_ps(low, first, high), _mm512_permutex2var_ps(low, second, high));
    }

    __m512 low;
    __m512 high;
  };

  struct F32Row : RowCursor<32> {
    Lanes decode(std::size_t k) const { return {_mm512_loadu_ps(codes + 4 * k), _mm512_loadu_ps(codes + 4 * k + 64)}; }
  };

  struct Bf16Row : RowCursor<16> {
    static constexpr bool kReordered = true;
    Lanes decode(std::size_t k) const {
      const __m512i pairs = _mm512_loadu_si512(codes + 2 * k);
      const __m512i odd = _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000U)));
      return {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)), _mm512_castsi512_ps(odd)};
    }
  };

  struct F16Row : RowCursor<16> {
    Lanes decode(std::size_t k) const {
      const auto widened = [](const std::byte* at) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
      };
      return {widened(codes + 2 * k), widened(codes + 2 * k + 32)};
    }
  };

  // Shifted to their places in a float, sign and magnitude of a code are its value * 2^-120. Multiplied by the scale
  // times 2^120, which must not overflow, the result is still rounded only once.
  struct E4m3Row : RowCursor<8> {
    void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
      RowCursor<8>::open(rows, r, tile);
      scales = rows.scales + r * rows.scale_step;
      largest = _mm256_setzero_si256();
    }
    void start(std::size_t g) { scale = _mm512_set1_ps(scales[g] * 0x1p120F); }
    Lanes decode(std::size_t k) {
      const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + k));
      largest = _mm256_max_epu8(largest, _mm256_and_si256(all, _mm256_set1_epi8(0x7f)));
      const auto scaled = [&](const std::byte* at) {
        const __m512i wide = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
        const __m512i places = _mm512_set1_epi32(static_cast<int>(0x87f00000U));
        return _mm512_mul_ps(_mm512_castsi512_ps(_mm512_and_si512(_mm512_slli_epi32(wide, 20), places)), scale);
      };
      return {scaled(codes + k), scaled(codes + k + 16)};
    }
    // Whether no code was NaN.
    bool sound() const { return _mm256_cmpeq_epi8_mask(largest, _mm256_set1_epi8(0x7f)) == 0; }

    const float* scales;
    __m256i largest;  // magnitudes read so far
    __m512 scale;
  };

  template <bool kOffsets>
  struct NibbleRow : RowCursor<4> {
    static constexpr bool kReordered = true;
    void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
      RowCursor<4>::open(rows, r, tile);
      scales = rows.scales + r * rows.scale_step;
      if constexpr (kOffsets) offsets = rows.offsets + r * rows.scale_step;
      values = _mm512_loadu_ps(rows.values);
    }
    // The weights of group g's codes.
    __m512 weights(std::size_t g) const {
      __m512 moved = values;
      if constexpr (kOffsets) moved = _mm512_sub_ps(values, _mm512_set1_ps(offsets[g]));
      return _mm512_mul_ps(moved, _mm512_set1_ps(scales[g]));
    }
    void start(std::size_t g) { table = weights(g); }
    // Each byte has two codes, the even element in the low nibble; a permutation reads the lowest four bits of an
    // index.
    __m512i pairs(std::size_t k) const {
      return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + k / 2)));
    }
    Lanes decode(std::size_t k) const {
      const __m512i even = pairs(k);
      return {_mm512_permutexvar_ps(even, table), _mm512_permutexvar_ps(_mm512_srli_epi32(even, 4), table)};
    }

    const float* scales;
    const float* offsets;
    __m512 values;
    __m512 table;
  };

  // Groups of 16, processed in pairs.
  template <bool kOffsets>
  struct NibblePairRow : NibbleRow<kOffsets> {
    void start(std::size_t g) {
      this->table = this->weights(2 * g);
      second_table = this->weights(2 * g + 1);
    }
    Lanes decode(std::size_t k) const {
      // The fifth bit of an index selects the table: the second one for the second half.
      const __m512i bytes = this->pairs(k);
      const __m512i half = _mm512_mask_set1_epi32(_mm512_setzero_si512(), 0xff00, 16);
      const __m512i even = _mm512_or_si512(_mm512_and_si512(bytes, _mm512_set1_epi32(15)), half);
      const __m512i odd = _mm512_or_si512(_mm512_srli_epi32(bytes, 4), half);
      return {_mm512_permutex2var_ps(this->table, even, second_table),
              _mm512_permutex2var_ps(this->table, odd, second_table)};
    }

    __m512 second_table;
  };
};

}  // namespace

const Kernels& avx512_kernels() {
  static constexpr Kernels kKernels = {"avx512",
                                       &kEvenOdd,
                                       &kEvenOdd,
                                       dot_rows,
                                       dot_stored<Avx512>,
                                       add_scaled_rows,
                                       weighted_sum,
                                       round_bf16,
                                       round_fp8,
                                       multiply_in_registers<Avx512>,
                                       bf16,
                                       f16,
                                       e4m3,
                                       e8m0,
                                       nibbles,
                                       nullptr,
                                       &int8::kProducts};
  return kKernels;
}

}  // namespace outrider

#endif
