#ifdef __x86_64__

#include <immintrin.h>

#include "outrider/kernels/dot_stored.h"
#include "outrider/kernels/elementwise.h"
#include "outrider/kernels/int8_products.h"
#include "outrider/kernels/kernels_simd.h"

// Compiled for AVX2, FMA and F16C, whatever the target of the other files: see kernels_avx512.cc.

namespace outrider {
namespace {

constexpr std::size_t kVectors = kLanes / 8;

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
    for (std::size_t v = 0; v < kVectors; ++v) lanes[r][v] = _mm256_setzero_ps();
  }
  for (std::size_t k = 0; k < size; k += kLanes) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t at = k + v * 8;
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

void add_scaled_rows(const float* factors, const float* x, std::size_t rows, std::size_t step, std::size_t size,
                     float* out) {
  std::size_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    __m256 sums[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) sums[v] = _mm256_loadu_ps(out + i + 8 * v);
    for (std::size_t r = 0; r < rows; ++r) {
      const __m256 factor = _mm256_set1_ps(factors[r]);
      const float* const row = x + r * step + i;
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[v] = _mm256_fmadd_ps(factor, _mm256_loadu_ps(row + 8 * v), sums[v]);
      }
    }
    for (std::size_t v = 0; v < kVectors; ++v) _mm256_storeu_ps(out + i + 8 * v, sums[v]);
  }
  for (; i < size; ++i) {
    for (std::size_t r = 0; r < rows; ++r) out[i] = __builtin_fmaf(factors[r], x[r * step + i], out[i]);
  }
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
    // Interpreted as FP16 with its sign moved, a code is its value * 2^-8.
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
      for (std::size_t half = 0; half < 2; ++half) {
        const __m256i indices = _mm256_cvtepu8_epi32(half == 0 ? pairs : _mm_srli_si128(pairs, 8));
        // Bit 3 of an index, moved to the sign, selects the half of the table.
        const __m256 value =
            _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, indices), _mm256_permutevar8x32_ps(upper, indices),
                             _mm256_castsi256_ps(_mm256_slli_epi32(indices, 28)));
        _mm256_storeu_ps(out + i + 8 * half, _mm256_mul_ps(_mm256_sub_ps(value, offset), scale));
      }
    }
  }
}

void e8m0(const std::byte* codes, std::size_t size, float* out) {
  const std::size_t whole = size / 8 * 8;
  for (std::size_t i = 0; i < whole; i += 8) {
    const __m256i code = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)));
    const __m256i is_zero = _mm256_cmpeq_epi32(code, _mm256_setzero_si256());
    const __m256i is_nan = _mm256_cmpeq_epi32(code, _mm256_set1_epi32(255));
    __m256i bits = _mm256_slli_epi32(code, 23);
    bits = _mm256_or_si256(bits, _mm256_and_si256(is_zero, _mm256_set1_epi32(0x00400000)));
    bits = _mm256_or_si256(bits, _mm256_and_si256(is_nan, _mm256_set1_epi32(0x7fc00000)));
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(bits));
  }
  scalar_kernels().e8m0(codes + whole, size - whole, out + whole);
}

// The order in which NibbleRow decodes: what unpacking bytes to words, and words to floats, leaves next to each other.
constexpr LaneOrder kNibbleOrder = {{0,  4,  8,  12, 1,  5,  9,  13, 2,  6,  10, 14, 3,  7,  11, 15,
                                     16, 20, 24, 28, 17, 21, 25, 29, 18, 22, 26, 30, 19, 23, 27, 31}};

struct Avx2 {
  static constexpr std::size_t rows_at_once(std::size_t) { return 1; }
  static constexpr std::size_t kFewTokens = 2;
  static constexpr std::size_t kPanelFrom = 3;
  static constexpr std::size_t kWidth = 8;
  static constexpr std::size_t kPanelTokens = 3;

  struct Vector {
    static Vector load(const float* at) { return {_mm256_loadu_ps(at)}; }
    void store(float* at) const { _mm256_storeu_ps(at, v); }
    void add_product(const Vector& weights, const Vector& x) { v = _mm256_fmadd_ps(weights.v, x.v, v); }

    __m256 v;
  };

  struct Lanes {
    static Lanes zero() {
      const __m256 z = _mm256_setzero_ps();
      return {{z, z, z, z}};
    }
    static Lanes load(const float* at) {
      return {{_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8), _mm256_loadu_ps(at + 16), _mm256_loadu_ps(at + 24)}};
    }
    void store(float* at) const {
      for (std::size_t i = 0; i < kVectors; ++i) _mm256_storeu_ps(at + 8 * i, v[i]);
    }
    void add_product(const Lanes& weights, const float* x) {
      for (std::size_t i = 0; i < kVectors; ++i) v[i] = _mm256_fmadd_ps(weights.v[i], _mm256_loadu_ps(x + 8 * i), v[i]);
    }
    float total() const { return sum(v); }
    // Of sums in kNibbleOrder, added in the order of sum().
    float total_reordered() const {
      const auto four = [](__m128 x) {  // (x0 + x2) + (x1 + x3) in the lowest element
        const __m128 pair = _mm_add_ps(x, _mm_movehl_ps(x, x));
        return _mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1));
      };
      const __m256 low = _mm256_add_ps(v[0], v[2]);
      const __m256 high = _mm256_add_ps(v[1], v[3]);
      const __m128 even = _mm_add_ss(four(_mm256_castps256_ps128(low)), four(_mm256_castps256_ps128(high)));
      const __m128 odd = _mm_add_ss(four(_mm256_extractf128_ps(low, 1)), four(_mm256_extractf128_ps(high, 1)));
      return _mm_cvtss_f32(_mm_add_ss(even, odd));
    }

    __m256 v[kVectors];
  };

  // Four vectors, each loaded from its part of a row: elements k, k + 8, ….
  template <typename Make>
  static Lanes each(const std::byte* at, std::size_t step, const Make& make) {
    return {{make(at), make(at + step), make(at + 2 * step), make(at + 3 * step)}};
  }

  struct F32Row : RowCursor<32> {
    Lanes decode(std::size_t k) const { return Lanes::load(reinterpret_cast<const float*>(codes + 4 * k)); }
  };

  struct Bf16Row : RowCursor<16> {
    Lanes decode(std::size_t k) const {
      return each(codes + 2 * k, 16, [](const std::byte* at) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load(at)), 16));
      });
    }
  };

  struct F16Row : RowCursor<16> {
    Lanes decode(std::size_t k) const {
      return each(codes + 2 * k, 16, [](const std::byte* at) { return _mm256_cvtph_ps(load(at)); });
    }
  };

  // See Avx512::E4m3Row.
  struct E4m3Row : RowCursor<8> {
    void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
      RowCursor<8>::open(rows, r, tile);
      scales = rows.scales + r * rows.scale_step;
      largest = _mm256_setzero_si256();
    }
    void start(std::size_t g) { scale = _mm256_set1_ps(scales[g] * 0x1p120F); }
    Lanes decode(std::size_t k) {
      const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + k));
      largest = _mm256_max_epu8(largest, _mm256_and_si256(all, _mm256_set1_epi8(0x7f)));
      return each(codes + k, 8, [&](const std::byte* at) {
        const __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
        const __m256i places = _mm256_set1_epi32(static_cast<int>(0x87f00000U));
        return _mm256_mul_ps(_mm256_castsi256_ps(_mm256_and_si256(_mm256_slli_epi32(wide, 20), places)), scale);
      });
    }
    bool sound() const { return _mm256_movemask_epi8(_mm256_cmpeq_epi8(largest, _mm256_set1_epi8(0x7f))) == 0; }

    const float* scales;
    __m256i largest;
    __m256 scale;
  };

  template <bool kOffsets>
  struct NibbleRow : RowCursor<4> {
    static constexpr bool kReordered = true;
    void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
      RowCursor<4>::open(rows, r, tile);
      scales = rows.scales + r * rows.scale_step;
      if constexpr (kOffsets) offsets = rows.offsets + r * rows.scale_step;
      // The values are BF16 numbers: two bytes each.
      const auto upper = [](const float* at) {
        return _mm256_srli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)), 16);
      };
      const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(upper(rows.values), upper(rows.values + 8)),
                                                     _MM_SHUFFLE(3, 1, 2, 0));
      const auto bytes = [](__m256i w) {
        return _mm256_broadcastsi128_si256(_mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
      };
      low_bytes = bytes(_mm256_and_si256(words, _mm256_set1_epi16(0xff)));
      high_bytes = bytes(_mm256_srli_epi16(words, 8));
    }
    void start(std::size_t g) {
      scale = _mm256_set1_ps(scales[g]);
      if constexpr (kOffsets) offset = _mm256_set1_ps(offsets[g]);
    }
    // The values of kLanes codes, in kNibbleOrder.
    Lanes looked_up(std::size_t k) const {
      // Low nibbles in one half, high nibbles in the other; a byte's two codes are of adjacent elements.
      const __m256i bytes = _mm256_broadcastsi128_si256(load(codes + k / 2));
      const __m256i nibbles =
          _mm256_and_si256(_mm256_srlv_epi64(bytes, _mm256_setr_epi64x(0, 0, 4, 4)), _mm256_set1_epi8(15));
      const __m256i low = _mm256_shuffle_epi8(low_bytes, nibbles);
      const __m256i high = _mm256_shuffle_epi8(high_bytes, nibbles);
      const __m256i first = _mm256_unpacklo_epi8(low, high);
      const __m256i second = _mm256_unpackhi_epi8(low, high);
      const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000U));
      return {{_mm256_castsi256_ps(_mm256_slli_epi32(first, 16)), _mm256_castsi256_ps(_mm256_and_si256(first, upper)),
               _mm256_castsi256_ps(_mm256_slli_epi32(second, 16)),
               _mm256_castsi256_ps(_mm256_and_si256(second, upper))}};
    }
    __m256 scaled(__m256 value, __m256 by, __m256 moved) const {
      if constexpr (kOffsets) value = _mm256_sub_ps(value, moved);
      return _mm256_mul_ps(value, by);
    }
    Lanes decode(std::size_t k) const {
      Lanes lanes = looked_up(k);
      for (__m256& v : lanes.v) v = scaled(v, scale, offset);
      return lanes;
    }

    const float* scales;
    const float* offsets;
    __m256i low_bytes;
    __m256i high_bytes;
    __m256 scale;
    __m256 offset;
  };

  // Groups of 16, processed in pairs.
  template <bool kOffsets>
  struct NibblePairRow : NibbleRow<kOffsets> {
    void start(std::size_t g) {
      NibbleRow<kOffsets>::start(2 * g);
      second_scale = _mm256_set1_ps(this->scales[2 * g + 1]);
      if constexpr (kOffsets) second_offset = _mm256_set1_ps(this->offsets[2 * g + 1]);
    }
    Lanes decode(std::size_t k) const {
      Lanes lanes = this->looked_up(k);
      for (int i = 0; i < 2; ++i) {
        lanes.v[i] = this->scaled(lanes.v[i], this->scale, this->offset);
        lanes.v[i + 2] = this->scaled(lanes.v[i + 2], second_scale, second_offset);
      }
      return lanes;
    }

    __m256 second_scale;
    __m256 second_offset;
  };
};

}  // namespace

const Kernels& avx2_kernels() {
  static constexpr Kernels kKernels = {"avx2",
                                       nullptr,
                                       &kNibbleOrder,
                                       dot_rows,
                                       dot_stored<Avx2>,
                                       add_scaled_rows,
                                       weighted_sum,
                                       round_bf16,
                                       round_fp8,
                                       multiply_in_registers<Avx2>,
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
