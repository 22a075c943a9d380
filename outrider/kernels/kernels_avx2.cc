#ifdef __x86_64__

#include <immintrin.h>

#include "outrider/kernels/dot_stored.h"
#include "outrider/kernels/kernels_simd.h"

// Compiled for AVX2, FMA and F16C, whatever the target of the other files: see kernels_avx512.cc.

namespace outrider {
namespace {

constexpr int kVectors = static_cast<int>(kLanes) / 8;

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
      for (int half = 0; half < 2; ++half) {
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

struct Avx2 {
  static constexpr std::size_t kCacheFloats = 6144;
  static constexpr std::size_t rows_at_once(std::size_t) { return 1; }

  struct Lanes {
    static Lanes zero() {
      const __m256 z = _mm256_setzero_ps();
      return {{z, z, z, z}};
    }
    static Lanes load(const float* at) {
      return {{_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8), _mm256_loadu_ps(at + 16), _mm256_loadu_ps(at + 24)}};
    }
    void store(float* at) const {
      for (int i = 0; i < kVectors; ++i) _mm256_storeu_ps(at + 8 * i, v[i]);
    }
    void add_product(const Lanes& weights, const float* x) {
      for (int i = 0; i < kVectors; ++i) v[i] = _mm256_fmadd_ps(weights.v[i], _mm256_loadu_ps(x + 8 * i), v[i]);
    }
    float total() const { return sum(v); }

    __m256 v[kVectors];
  };

  // Four vectors, each loaded from its part of a row: elements k, k + 8, ….
  template <typename Make>
  static Lanes each(const std::byte* at, std::size_t step, const Make& make) {
    return {{make(at), make(at + step), make(at + 2 * step), make(at + 3 * step)}};
  }

  struct F32Row : RowCursor<2> {
    Lanes decode(std::size_t k) const {
      prefetch(codes + 4 * k, ahead);
      prefetch(codes + 4 * k + 64, ahead);
      return Lanes::load(reinterpret_cast<const float*>(codes + 4 * k));
    }
  };

  struct Bf16Row : RowCursor<2> {
    Lanes decode(std::size_t k) const {
      prefetch(codes + 2 * k, ahead);
      return each(codes + 2 * k, 16, [](const std::byte* at) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load(at)), 16));
      });
    }
  };

  struct F16Row : RowCursor<2> {
    Lanes decode(std::size_t k) const {
      prefetch(codes + 2 * k, ahead);
      return each(codes + 2 * k, 16, [](const std::byte* at) { return _mm256_cvtph_ps(load(at)); });
    }
  };

  // See Avx512::E4m3Row.
  struct E4m3Row : RowCursor<2> {
    void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
      RowCursor<2>::open(rows, r, tile);
      scales = rows.scales + r * rows.scale_step;
      largest = _mm256_setzero_si256();
    }
    void start(std::size_t g) { scale = _mm256_set1_ps(scales[g] * 0x1p120F); }
    Lanes decode(std::size_t k) {
      if (k % 64 == 0) prefetch(codes + k, ahead);
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

  // The weights of codes 0 to 7 and 8 to 15.
  struct Table {
    __m256 lower;
    __m256 upper;
  };

  template <bool kOffsets>
  struct NibbleRow : RowCursor<2> {
    void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
      RowCursor<2>::open(rows, r, tile);
      scales = rows.scales + r * rows.scale_step;
      if constexpr (kOffsets) offsets = rows.offsets + r * rows.scale_step;
      values = {_mm256_loadu_ps(rows.values), _mm256_loadu_ps(rows.values + 8)};
    }
    Table weights(std::size_t g) const {
      Table moved = values;
      if constexpr (kOffsets) {
        const __m256 offset = _mm256_set1_ps(offsets[g]);
        moved = {_mm256_sub_ps(values.lower, offset), _mm256_sub_ps(values.upper, offset)};
      }
      const __m256 scale = _mm256_set1_ps(scales[g]);
      return {_mm256_mul_ps(moved.lower, scale), _mm256_mul_ps(moved.upper, scale)};
    }
    // Eight codes: their word is broadcast to all lanes and shifted in each until the lane's code is lowest. The
    // permutation reads the lowest three bits of an index; the fourth, moved to the sign, selects the half of the
    // table.
    static __m256 looked_up(const std::byte* at, const Table& table) {
      const __m256i word = _mm256_broadcastd_epi32(_mm_loadu_si32(at));
      const __m256i index = _mm256_srlv_epi32(word, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
      return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.lower, index),
                              _mm256_permutevar8x32_ps(table.upper, index),
                              _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
    }
    void start(std::size_t g) { table = weights(g); }
    Lanes decode(std::size_t k) const {
      if (k % 128 == 0) prefetch(codes + k / 2, ahead);
      return each(codes + k / 2, 4, [&](const std::byte* at) { return looked_up(at, table); });
    }

    const float* scales;
    const float* offsets;
    Table values;
    Table table;
  };

  // Groups of 16, processed in pairs.
  template <bool kOffsets>
  struct NibblePairRow : NibbleRow<kOffsets> {
    using Single = NibbleRow<kOffsets>;
    void start(std::size_t g) {
      this->table = this->weights(2 * g);
      second_table = this->weights(2 * g + 1);
    }
    Lanes decode(std::size_t k) const {
      const std::byte* at = this->codes + k / 2;
      if (k % 128 == 0) prefetch(at, this->ahead);
      return {{Single::looked_up(at, this->table), Single::looked_up(at + 4, this->table),
               Single::looked_up(at + 8, second_table), Single::looked_up(at + 12, second_table)}};
    }

    Table second_table;
  };
};

}  // namespace

const Kernels& avx2_kernels() {
  static constexpr Kernels kKernels = {"avx2", false, dot_rows, dot_stored<Avx2>, add_scaled, bf16,
                                       f16,    e4m3,  e8m0,     nibbles};
  return kKernels;
}

}  // namespace outrider

#endif
