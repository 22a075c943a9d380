#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "outrider/kernels/kernels.h"

// Products of 4-bit weights with tokens rounded to int8, with 256-bit vectors of whatever instruction set this is
// compiled for: bit-identical on all.
//
// All forms' codes stand for integers, in halves for E2M1, so that a group's sum of products is an integer: exact, in
// whatever order. Codes are looked up as unsigned bytes, the integers less the smallest. What that adds to a product,
// and zero points, are the same for a whole group: they are multiplied with the sum of the group's tokens, which is
// computed once. A result does not depend on others computed in the same call.
//
// A converted token: int8 codes, the even elements of each 32 before the odd ones; a float scale for each 32; the float
// sum of each group of the weight's.
//
// The anonymous namespace is intentional: see dot_stored.h.

namespace outrider {
namespace {
namespace int8 {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kPrefetch = 8192;

// The sums of four products each, of weights below 25 with signed bytes.
__m256i dot4(__m256i weights, __m256i x) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x), _mm256_set1_epi16(1));
}

struct Token {
  Token(const std::uint16_t* at, std::size_t size)
      : codes(reinterpret_cast<const std::byte*>(at)),
        scales(reinterpret_cast<const float*>(codes + size)),
        sums(scales + size / kBlock) {}

  const std::byte* codes;
  const float* scales;
  const float* sums;
};

bool takes(RowCodes form, std::size_t group, bool, std::size_t size) {
  return form == RowCodes::kNibbles && size % kBlock == 0 && (group == 16 || (group != 0 && group % kBlock == 0));
}

// Halved, from the lowest half of the vector to the highest.
float sum8(__m256 v8) {
  const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}

void convert(RowCodes, std::size_t group, const float* x, std::size_t size, std::uint16_t* out) {
  const Token token(out, size);
  auto* codes = const_cast<std::byte*>(token.codes);
  auto* scales = const_cast<float*>(token.scales);
  auto* sums = const_cast<float*>(token.sums);
  for (std::size_t g = 0; g < (size + group - 1) / group; ++g) sums[g] = 0;
  const __m256i even = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
  for (std::size_t k = 0; k < size; k += kBlock) {
    __m256 v[4];
    __m256i largest = _mm256_setzero_si256();  // of the bits, so that a NaN is larger than any number
    for (std::size_t i = 0; i < 4; ++i) {
      v[i] = _mm256_loadu_ps(x + k + 8 * i);
      const __m256i bits = _mm256_and_si256(_mm256_castps_si256(v[i]), _mm256_set1_epi32(0x7fffffff));
      largest = _mm256_max_epi32(largest, bits);
    }
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, _MM_SHUFFLE(1, 0, 3, 2)));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, _MM_SHUFFLE(2, 3, 0, 1)));
    const float scale = _mm_cvtss_f32(_mm_castsi128_ps(most)) / 127;
    scales[k / kBlock] = scale;
    const __m256 inverse = _mm256_set1_ps(scale < 0x1p-120F ? 0.0F : 1 / scale);
    __m256i whole[4];
    for (std::size_t i = 0; i < 4; ++i) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    const __m256i first = _mm256_packs_epi32(whole[0], whole[1]);
    const __m256i second = _mm256_packs_epi32(whole[2], whole[3]);
    // Bytes 0-3 and 8-11 and 16-19 and 24-27, then the rest; then in order.
    const __m256i mixed = _mm256_packs_epi16(first, second);
    const __m256i ordered = _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    const __m256i halves = _mm256_shuffle_epi8(ordered, even);  // even and odd elements of each 16
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + k),
                        _mm256_permute4x64_epi64(halves, _MM_SHUFFLE(3, 1, 2, 0)));
    for (std::size_t half = 0; half < 2; ++half) {
      const __m128i part = half == 0 ? _mm256_castsi256_si128(ordered) : _mm256_extracti128_si256(ordered, 1);
      const __m128i words = _mm_add_epi16(_mm_cvtepi8_epi16(part), _mm_cvtepi8_epi16(_mm_srli_si128(part, 8)));
      __m128i sum = _mm_madd_epi16(words, _mm_set1_epi16(1));
      sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(1, 0, 3, 2)));
      sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, _MM_SHUFFLE(2, 3, 0, 1)));
      sums[(k + 16 * half) / group] += scale * static_cast<float>(_mm_cvtsi128_si32(sum));
    }
  }
}

// What the codes of a form stand for.
struct Codes {
  explicit Codes(const float* values) {
    float smallest = 0;
    for (std::size_t i = 0; i < 16; ++i) {
      if (values[i] != static_cast<float>(static_cast<int>(values[i]))) unit = 0.5F;
      smallest = values[i] < smallest ? values[i] : smallest;
    }
    least = smallest / unit;
    alignas(16) std::uint8_t bytes[16];
    for (std::size_t i = 0; i < 16; ++i) bytes[i] = static_cast<std::uint8_t>(values[i] / unit - least);
    table = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes)));
  }

  float unit = 1;   // the value of an integer 1
  float least = 0;  // in units
  __m256i table;    // integers less the least
};

// What the smallest code and the zero points add to a row's products: in units.
float group_sums(const float* scales, const float* offsets, const Codes& codes, const float* sums, std::size_t groups) {
  const __m256 least = _mm256_set1_ps(codes.least);
  const __m256 inverse = _mm256_set1_ps(1 / codes.unit);
  __m256 total = _mm256_setzero_ps();
  std::size_t g = 0;
  for (; g + 8 <= groups; g += 8) {
    const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(scales + g), _mm256_loadu_ps(sums + g));
    const __m256 added =
        offsets == nullptr ? least : _mm256_sub_ps(least, _mm256_mul_ps(_mm256_loadu_ps(offsets + g), inverse));
    total = _mm256_fmadd_ps(scaled, added, total);
  }
  float out = sum8(total);
  for (; g < groups; ++g) {
    out += scales[g] * sums[g] * (codes.least - (offsets == nullptr ? 0.0F : offsets[g] / codes.unit));
  }
  return out;
}

// Blocks whose scales are computed at once.
constexpr std::size_t kPiece = 64;

// A row's scales of blocks [first, first + count), one for each. `memory`: where they are repeated, if need be.
const float* scales_of_blocks(const float* scales, std::size_t group, std::size_t first, std::size_t count,
                              float* memory) {
  if (group == kBlock) return scales + first;
  const std::size_t blocks = group / kBlock;
  const float* scale = scales + first / blocks;
  for (std::size_t b = 0, left = blocks - first % blocks; b < count; ++b) {
    memory[b] = *scale;
    if (--left != 0) continue;
    left = blocks;
    ++scale;
  }
  return memory;
}

void multiply(const float* a, const float* b, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = a[i] * b[i];
}

// out[i] = a[i] * b[i / 2]
void multiply_pairs(const float* a, const float* b, std::size_t count, float* out) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 four = _mm256_castps128_ps256(_mm_loadu_ps(b + i / 2));
    const __m256 pairs = _mm256_permutevar8x32_ps(four, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
    _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(a + i), pairs));
  }
  for (; i < count; ++i) out[i] = a[i] * b[i / 2];
}

// Of the eight sums of a block's products.
template <bool kPairs>
__m256 block_scale(const float* scales, std::size_t block) {
  if constexpr (kPairs) {  // each sum is of four even or four odd elements
    const __m256d two = _mm256_broadcast_sd(reinterpret_cast<const double*>(scales + 2 * block));
    return _mm256_permute_ps(_mm256_castpd_ps(two), _MM_SHUFFLE(1, 1, 0, 0));
  } else {
    return _mm256_broadcast_ss(scales + block);
  }
}

struct Output {
  float* at;
  std::size_t row_step;
  std::size_t token_step;
};

template <bool kPairs, std::size_t kRows, std::size_t kTokens>
void tile(const StoredRows& rows, const Codes& codes, const std::uint16_t* x, std::size_t stride, std::size_t size,
          Output out) {
  const __m256i table = codes.table;
  const std::size_t blocks = size / kBlock;
  __m256 sums[kRows][kTokens];
  for (auto& row : sums) {
    for (__m256& sum : row) sum = _mm256_setzero_ps();
  }
  for (std::size_t first = 0; first < blocks; first += kPiece) {
    const std::size_t count = kPiece < blocks - first ? kPiece : blocks - first;
    const std::byte* at[kRows];
    const std::byte* values[kTokens];
    float scales[kRows][kTokens][kPiece * (kPairs ? 2 : 1)];
    for (std::size_t t = 0; t < kTokens; ++t) values[t] = Token(x + t * stride, size).codes + first * kBlock;
    for (std::size_t r = 0; r < kRows; ++r) {
      at[r] = rows.codes + r * rows.row_bytes + first * kBlock / 2;
      const float* const of_row = rows.scales + r * rows.scale_step;
      float memory[kPiece];
      const float* const of_blocks =
          kPairs ? of_row + 2 * first : scales_of_blocks(of_row, rows.group, first, count, memory);
      for (std::size_t t = 0; t < kTokens; ++t) {
        const float* const of_token = Token(x + t * stride, size).scales + first;
        if (kPairs) {
          multiply_pairs(of_blocks, of_token, 2 * count, scales[r][t]);
        } else {
          multiply(of_blocks, of_token, count, scales[r][t]);
        }
      }
    }
    // Adds the products of kCount blocks at once: a sum waits for its last addition.
    const auto add = [&]<std::size_t kCount>(std::size_t b) __attribute__((always_inline)) {
      __m256 part[kRows][kTokens];
      for (std::size_t i = b; i < b + kCount; ++i) {
        __m256i weights[kRows];
        for (std::size_t r = 0; r < kRows; ++r) {
          const auto* const stored = reinterpret_cast<const __m128i*>(at[r] + i * kBlock / 2);
          const __m256i bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128(stored));
          const __m256i nibbles =
              _mm256_and_si256(_mm256_srlv_epi64(bytes, _mm256_setr_epi64x(0, 0, 4, 4)), _mm256_set1_epi8(15));
          weights[r] = _mm256_shuffle_epi8(table, nibbles);
        }
        for (std::size_t t = 0; t < kTokens; ++t) {
          const __m256i token = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values[t] + i * kBlock));
          for (std::size_t r = 0; r < kRows; ++r) {
            const __m256 products = _mm256_cvtepi32_ps(dot4(weights[r], token));
            const __m256 scale = block_scale<kPairs>(scales[r][t], i);
            part[r][t] = i == b ? _mm256_mul_ps(products, scale) : _mm256_fmadd_ps(products, scale, part[r][t]);
          }
        }
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        __builtin_prefetch(at[r] + b * kBlock / 2 + kPrefetch);
        for (std::size_t t = 0; t < kTokens; ++t) sums[r][t] = _mm256_add_ps(sums[r][t], part[r][t]);
      }
    };
    std::size_t b = 0;
    for (; b + 4 <= count; b += 4) add.template operator()<4>(b);
    for (; b < count; ++b) add.template operator()<1>(b);
  }
  const std::size_t groups = (size + rows.group - 1) / rows.group;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t t = 0; t < kTokens; ++t) {
      const float* const offsets = rows.offsets == nullptr ? nullptr : rows.offsets + r * rows.scale_step;
      const float rest =
          group_sums(rows.scales + r * rows.scale_step, offsets, codes, Token(x + t * stride, size).sums, groups);
      out.at[r * out.row_step + t * out.token_step] = codes.unit * (sum8(sums[r][t]) + rest);
    }
  }
}

template <bool kPairs, std::size_t kRows, std::size_t kTokens>
void all_rows(StoredRows rows, const Codes& codes, std::size_t row_count, const std::uint16_t* x, std::size_t stride,
              std::size_t size, Output out) {
  for (; row_count >= kRows; row_count -= kRows) {
    tile<kPairs, kRows, kTokens>(rows, codes, x, stride, size, out);
    rows.codes += kRows * rows.row_bytes;
    rows.scales += kRows * rows.scale_step;
    if (rows.offsets != nullptr) rows.offsets += kRows * rows.scale_step;
    out.at += kRows * out.row_step;
  }
  if constexpr (kRows > 1) all_rows<kPairs, kRows - 1, kTokens>(rows, codes, row_count, x, stride, size, out);
}

template <bool kPairs, std::size_t kTokens = 4>
void all_tokens(const StoredRows& rows, const Codes& codes, std::size_t row_count, const std::uint16_t* x,
                std::size_t tokens, std::size_t stride, std::size_t size, Output out) {
  for (; tokens >= kTokens; tokens -= kTokens) {
    all_rows<kPairs, kTokens == 2 ? 2 : 1, kTokens>(rows, codes, row_count, x, stride, size, out);
    x += kTokens * stride;
    out.at += kTokens * out.token_step;
  }
  if constexpr (kTokens > 1) {
    all_tokens<kPairs, kTokens - 1>(rows, codes, row_count, x, tokens, stride, size, out);
  }
}

void dot(const StoredRows& rows, std::size_t row_count, const std::uint16_t* x, std::size_t tokens, std::size_t stride,
         std::size_t size, float* out, std::size_t row_step, std::size_t token_step) {
  const auto run = rows.group == 16 ? all_tokens<true> : all_tokens<false>;
  run(rows, Codes(rows.values), row_count, x, tokens, stride, size, {out, row_step, token_step});
}

constexpr ConvertedProducts kProducts = {takes, convert, dot};

}  // namespace int8
}  // namespace
}  // namespace outrider
