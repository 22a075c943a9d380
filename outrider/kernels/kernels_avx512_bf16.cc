#ifdef __x86_64__

#include <immintrin.h>

#include "outrider/kernels/kernels_simd.h"

// Products of BF16 values by vdpbf16ps, which multiplies and adds 32 pairs at once. Compiled for AVX-512 with BF16 and
// VBMI, whatever the target of the other files: see kernels_avx512.cc.
//
// Weights are decoded to BF16 without their scales, which is exact for every form here, and multiplied with tokens in
// BF16. A chunk is 64 elements of a row, decoded to two vectors of 32; a token's vectors have the same order. Lane l of
// 16 sums the products of places 2l and 2l + 1 of both vectors. The sums of the chunks that share scales are multiplied
// by these, and added to the row's lanes. The order depends on the form only, so a result does not depend on others.

namespace outrider {
namespace {

constexpr std::size_t kChunk = 64;
// Elements of a row that are decoded before the next rows', if there are many tokens.
constexpr std::size_t kPanelChunks = 8;
constexpr std::size_t kRowsAtOnce = 4;
constexpr std::size_t kMostTokens = 48;  // whose sums are kept from one panel to the next
constexpr std::size_t kPrefetchBytes = 8192;

struct Pair {
  __m512i first;
  __m512i second;
};

__m512 multiply_add(__m512 sums, __m512i weights, __m512i x) {
  return _mm512_dpbf16_ps(sums, reinterpret_cast<__m512bh>(weights), reinterpret_cast<__m512bh>(x));
}

float total(__m512 v16) {
  const __m256 v8 = _mm256_add_ps(_mm512_castps512_ps256(v16), _mm512_extractf32x8_ps(v16, 1));
  const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}

// A row of each coding: open() goes to row r, of which `tile` are read at once, decode(c) returns chunk c, prefetching
// what comes later. With kScaled, scale(c) returns the lanes' scales of the chunks [c, c + span()). Tables are the same
// for all rows, and stay in registers.

// To the same element of the row that is read after this one, or of one of those after it.
std::size_t distance(const StoredRows& rows, std::size_t tile) {
  std::size_t ahead = tile * rows.row_bytes;
  while (ahead < kPrefetchBytes) ahead *= 2;
  return ahead;
}

struct PlainRow {
  static constexpr bool kScaled = false;
  struct Tables {
    explicit Tables(const StoredRows&) {}
  };
  void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
    codes = rows.codes + r * rows.row_bytes;
    ahead = distance(rows, tile);
  }
  Pair decode(std::size_t c, const Tables&) const {
    const std::byte* at = codes + 128 * c;
    __builtin_prefetch(at + ahead);
    __builtin_prefetch(at + ahead + 64);
    return {_mm512_loadu_si512(at), _mm512_loadu_si512(at + 64)};
  }

  const std::byte* codes;
  std::size_t ahead;
};

// The upper and lower bytes of the BF16 numbers of E4M3 codes 0 to 127.
struct alignas(64) ByteTables {
  std::uint8_t upper[128];
  std::uint8_t lower[128];
};

constexpr ByteTables e4m3_tables() {
  ByteTables out{};
  for (unsigned code = 0; code < 128; ++code) {
    unsigned bits = ((code >> 3) + 120) << 7 | (code & 7) << 4;
    if (code == 0x7f) {
      bits = 0x7fc0;  // NaN
    } else if (code < 8) {
      // A subnormal: code * 2^-9, normalised.
      unsigned exponent = 127 - 9 + 3;
      unsigned mantissa = code;
      while (mantissa != 0 && mantissa < 8) {
        mantissa *= 2;
        --exponent;
      }
      bits = mantissa == 0 ? 0 : exponent << 7 | (mantissa & 7) << 4;
    }
    out.upper[code] = static_cast<std::uint8_t>(bits >> 8);
    out.lower[code] = static_cast<std::uint8_t>(bits);
  }
  return out;
}

constexpr ByteTables kE4m3Tables = e4m3_tables();

// Chunks of 64 bytes; unpacking interleaves them by 16: see convert().
struct E4m3Row {
  static constexpr bool kScaled = true;
  struct Tables {
    explicit Tables(const StoredRows&) {}

    __m512i upper0 = _mm512_load_si512(kE4m3Tables.upper);
    __m512i upper1 = _mm512_load_si512(kE4m3Tables.upper + 64);
    __m512i lower0 = _mm512_load_si512(kE4m3Tables.lower);
    __m512i lower1 = _mm512_load_si512(kE4m3Tables.lower + 64);
  };
  void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
    codes = rows.codes + r * rows.row_bytes;
    ahead = distance(rows, tile);
    scales = rows.scales + r * rows.scale_step;
    chunks = rows.group / kChunk;
  }
  Pair decode(std::size_t c, const Tables& tables) const {
    const std::byte* at = codes + 64 * c;
    __builtin_prefetch(at + ahead);
    const __m512i all = _mm512_loadu_si512(at);
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    const __m512i low = _mm512_permutex2var_epi8(tables.lower0, all, tables.lower1);
    // upper | (all & sign)
    const __m512i high =
        _mm512_ternarylogic_epi32(_mm512_permutex2var_epi8(tables.upper0, all, tables.upper1), all, sign, 0xf8);
    return {_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)};
  }
  std::size_t span() const { return chunks; }
  __m512 scale(std::size_t g) const { return _mm512_set1_ps(scales[g]); }

  const std::byte* codes;
  std::size_t ahead;
  const float* scales;
  std::size_t chunks;
};

// Chunks of 32 bytes: first the even elements, then the odd ones. kGroup: 16, 32 or 64; 64 stands for its multiples.
template <std::size_t kGroup>
struct NibbleRow {
  static constexpr bool kScaled = true;
  struct Tables {
    explicit Tables(const StoredRows& rows) {
      const __m512i values = _mm512_castps_si512(_mm512_loadu_ps(rows.values));
      const __m256i words = _mm512_cvtepi32_epi16(_mm512_srli_epi32(values, 16));
      twice = _mm512_inserti64x4(_mm512_castsi256_si512(words), words, 1);
    }

    __m512i twice;
  };
  void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
    codes = rows.codes + r * rows.row_bytes;
    ahead = distance(rows, tile);
    scales = rows.scales + r * rows.scale_step;
    chunks = kGroup < kChunk ? 1 : rows.group / kChunk;
  }
  // A permutation of words reads the lowest five bits of an index; the table's halves are equal.
  Pair decode(std::size_t c, const Tables& tables) const {
    const std::byte* at = codes + 32 * c;
    __builtin_prefetch(at + ahead);
    const __m512i pairs = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    return {_mm512_permutexvar_epi16(pairs, tables.twice),
            _mm512_permutexvar_epi16(_mm512_srli_epi16(pairs, 4), tables.twice)};
  }
  std::size_t span() const { return chunks; }
  __m512 scale(std::size_t g) const {
    if constexpr (kGroup == 16) {
      const __m512 four = _mm512_castps128_ps512(_mm_loadu_ps(scales + 4 * g));
      return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), four);
    } else if constexpr (kGroup == 32) {
      return _mm512_insertf32x8(_mm512_set1_ps(scales[2 * g]), _mm256_set1_ps(scales[2 * g + 1]), 1);
    } else {
      return _mm512_set1_ps(scales[g]);
    }
  }

  const std::byte* codes;
  std::size_t ahead;
  const float* scales;
  std::size_t chunks;
};

// The rows from row r on.
StoredRows rows_from(StoredRows rows, std::size_t r) {
  rows.codes += r * rows.row_bytes;
  if (rows.scales != nullptr) rows.scales += r * rows.scale_step;
  return rows;
}

struct Output {
  float* at;
  std::size_t row_step;
  std::size_t token_step;
};

// Adds the products of chunks [begin, end) to `lanes`. `weights(r, c)` returns a chunk of a row; x: the tokens' chunk
// 0.
template <typename Row, std::size_t kRows, std::size_t kTokens, typename Weights>
[[gnu::always_inline]] inline void add_chunks(const Row* rows, const Weights& weights, const std::uint16_t* x,
                                              std::size_t stride, std::size_t begin, std::size_t end,
                                              __m512 (&lanes)[kRows][kTokens]) {
  const auto add = [&](std::size_t c, __m512(&sums)[kRows][kTokens]) __attribute__((always_inline)) {
    for (std::size_t r = 0; r < kRows; ++r) {
      const Pair w = weights(r, c);
      for (std::size_t t = 0; t < kTokens; ++t) {
        const std::uint16_t* const at = x + t * stride + kChunk * c;
        sums[r][t] = multiply_add(sums[r][t], w.first, _mm512_loadu_si512(at));
        sums[r][t] = multiply_add(sums[r][t], w.second, _mm512_loadu_si512(at + 32));
      }
    }
  };
  if constexpr (!Row::kScaled) {
    for (std::size_t c = begin; c < end; ++c) add(c, lanes);
  } else {
    const std::size_t span = rows[0].span();
    std::size_t g = begin / span;
    for (std::size_t c = begin; c < end; ++g) {
      const std::size_t stop = c + span < end ? c + span : end;
      __m512 sums[kRows][kTokens];
      for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t t = 0; t < kTokens; ++t) sums[r][t] = _mm512_setzero_ps();
      }
      for (; c < stop; ++c) add(c, sums);
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m512 scale = rows[r].scale(g);
        for (std::size_t t = 0; t < kTokens; ++t) lanes[r][t] = _mm512_fmadd_ps(scale, sums[r][t], lanes[r][t]);
      }
    }
  }
}

// Rows decoded in registers and multiplied with all of a few tokens.
template <typename Row, std::size_t kRows, std::size_t kTokens>
void few_tokens(const StoredRows& stored, std::size_t row_count, const std::uint16_t* x, std::size_t stride,
                std::size_t chunks, Output out) {
  const typename Row::Tables tables(stored);
  std::size_t r = 0;
  for (; r + kRows <= row_count; r += kRows) {
    Row rows[kRows];
    __m512 lanes[kRows][kTokens];
    for (std::size_t i = 0; i < kRows; ++i) {
      rows[i].open(stored, r + i, kRows);
      for (std::size_t t = 0; t < kTokens; ++t) lanes[i][t] = _mm512_setzero_ps();
    }
    add_chunks<Row, kRows, kTokens>(
        rows, [&](std::size_t i, std::size_t c) __attribute__((always_inline)) { return rows[i].decode(c, tables); }, x,
        stride, 0, chunks, lanes);
    for (std::size_t i = 0; i < kRows; ++i) {
      for (std::size_t t = 0; t < kTokens; ++t) {
        out.at[(r + i) * out.row_step + t * out.token_step] = total(lanes[i][t]);
      }
    }
  }
  if constexpr (kRows > 1) {
    few_tokens<Row, kRows / 2, kTokens>(rows_from(stored, r), row_count - r, x, stride, chunks,
                                        {out.at + r * out.row_step, out.row_step, out.token_step});
  }
}

template <typename Row, std::size_t kTokens>
void up_to(const StoredRows& stored, std::size_t row_count, const std::uint16_t* x, std::size_t tokens,
           std::size_t stride, std::size_t chunks, Output out) {
  if (tokens == kTokens) {
    // By measurement: one stream of memory is fastest, as long as decoding is not what takes the time.
    constexpr std::size_t kRows = kTokens == 1 ? 1 : kTokens == 2 ? 4 : 2;
    return few_tokens<Row, kRows, kTokens>(stored, row_count, x, stride, chunks, out);
  }
  if constexpr (kTokens > 1) up_to<Row, kTokens - 1>(stored, row_count, x, tokens, stride, chunks, out);
}

using Panel = Pair[kRowsAtOnce][kPanelChunks];

template <typename Row, std::size_t kTokens>
void panel_tile(const Row* rows, const Panel& panel, const std::uint16_t* x, std::size_t stride, std::size_t begin,
                std::size_t end, __m512* kept, std::size_t kept_step) {
  __m512 lanes[kRowsAtOnce][kTokens];
  for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
    for (std::size_t t = 0; t < kTokens; ++t) lanes[r][t] = kept[r * kept_step + t];
  }
  add_chunks<Row, kRowsAtOnce, kTokens>(
      rows, [&](std::size_t r, std::size_t c) __attribute__((always_inline)) { return panel[r][c - begin]; }, x, stride,
      begin, end, lanes);
  for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
    for (std::size_t t = 0; t < kTokens; ++t) kept[r * kept_step + t] = lanes[r][t];
  }
}

template <typename Row, std::size_t kTokens>
void panel_tiles(const Row* rows, const Panel& panel, const std::uint16_t* x, std::size_t tokens, std::size_t stride,
                 std::size_t begin, std::size_t end, __m512* kept, std::size_t kept_step) {
  for (; tokens >= kTokens; tokens -= kTokens) {
    panel_tile<Row, kTokens>(rows, panel, x, stride, begin, end, kept, kept_step);
    x += kTokens * stride;
    kept += kTokens;
  }
  if constexpr (kTokens > 1) {
    panel_tiles<Row, kTokens - 1>(rows, panel, x, tokens, stride, begin, end, kept, kept_step);
  }
}

// Four rows, decoded a panel at a time, and up to kMostTokens tokens. Panels are of whole groups: see takes_bf16().
template <typename Row>
void panels(const StoredRows& stored, std::size_t first_row, const std::uint16_t* x, std::size_t tokens,
            std::size_t stride, std::size_t chunks, Output out) {
  constexpr std::size_t kTokens = Row::kScaled ? 3 : 6;
  const typename Row::Tables tables(stored);
  Row rows[kRowsAtOnce];
  for (std::size_t r = 0; r < kRowsAtOnce; ++r) rows[r].open(stored, first_row + r, kRowsAtOnce);
  __m512 kept[kRowsAtOnce * kMostTokens];
  for (std::size_t i = 0; i < kRowsAtOnce * tokens; ++i) kept[i] = _mm512_setzero_ps();
  Panel panel;
  for (std::size_t begin = 0; begin < chunks; begin += kPanelChunks) {
    const std::size_t end = begin + kPanelChunks < chunks ? begin + kPanelChunks : chunks;
    for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
      for (std::size_t c = begin; c < end; ++c) panel[r][c - begin] = rows[r].decode(c, tables);
    }
    panel_tiles<Row, kTokens>(rows, panel, x, tokens, stride, begin, end, kept, tokens);
  }
  for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
    for (std::size_t t = 0; t < tokens; ++t) {
      out.at[r * out.row_step + t * out.token_step] = total(kept[r * tokens + t]);
    }
  }
}

template <typename Row>
void dot(const StoredRows& stored, std::size_t row_count, const std::uint16_t* x, std::size_t tokens,
         std::size_t stride, std::size_t size, Output out) {
  constexpr std::size_t kFewTokens = 8;
  const std::size_t chunks = size / kChunk;
  while (tokens != 0) {
    const bool few = tokens <= kFewTokens;
    const std::size_t taken = tokens < kMostTokens ? tokens : kMostTokens;
    std::size_t r = 0;
    if (!few) {
      for (; r + kRowsAtOnce <= row_count; r += kRowsAtOnce) {
        panels<Row>(stored, r, x, taken, stride, chunks, {out.at + r * out.row_step, out.row_step, out.token_step});
      }
    }
    if (r < row_count) {
      const StoredRows rest = rows_from(stored, r);
      for (std::size_t t = 0; t < taken; t += kFewTokens) {
        const std::size_t count = taken - t < kFewTokens ? taken - t : kFewTokens;
        up_to<Row, kFewTokens>(rest, row_count - r, x + t * stride, count, stride, chunks,
                               {out.at + r * out.row_step + t * out.token_step, out.row_step, out.token_step});
      }
    }
    x += taken * stride;
    out.at += taken * out.token_step;
    tokens -= taken;
  }
}

void dot_bf16(const StoredRows& rows, std::size_t row_count, const std::uint16_t* tokens, std::size_t token_count,
              std::size_t token_stride, std::size_t size, float* out, std::size_t row_step, std::size_t token_step) {
  const auto run = [&]<typename Row>() {
    dot<Row>(rows, row_count, tokens, token_count, token_stride, size, {out, row_step, token_step});
  };
  if (rows.form == RowCodes::kBf16) return run.template operator()<PlainRow>();
  if (rows.form == RowCodes::kE4m3) return run.template operator()<E4m3Row>();
  if (rows.group == 16) return run.template operator()<NibbleRow<16>>();
  if (rows.group == 32) return run.template operator()<NibbleRow<32>>();
  return run.template operator()<NibbleRow<64>>();
}

bool takes_bf16(RowCodes form, std::size_t group, bool offsets, std::size_t size) {
  if (size % kChunk != 0 || offsets) return false;
  const bool whole_chunks = group != 0 && group % kChunk == 0 && kPanelChunks % (group / kChunk) == 0;
  return form == RowCodes::kBf16 || (form == RowCodes::kE4m3 && whole_chunks) ||
         (form == RowCodes::kNibbles && (group == 16 || group == 32 || whole_chunks));
}

// The places of a chunk's elements in the two vectors that each coding is decoded to.
struct alignas(64) ChunkOrder {
  std::uint16_t places[kChunk];
};

ChunkOrder order_of(RowCodes form) {
  ChunkOrder order;
  for (std::size_t i = 0; i < 32; ++i) {
    const std::size_t unpacked = i / 8 * 16 + i % 8;
    order.places[i] = static_cast<std::uint16_t>(form == RowCodes::kE4m3      ? unpacked
                                                 : form == RowCodes::kNibbles ? 2 * i
                                                                              : i);
    order.places[32 + i] = static_cast<std::uint16_t>(form == RowCodes::kE4m3      ? unpacked + 8
                                                      : form == RowCodes::kNibbles ? 2 * i + 1
                                                                                   : 32 + i);
  }
  return order;
}

void to_bf16(RowCodes form, std::size_t, const float* x, std::size_t size, std::uint16_t* out) {
  const ChunkOrder order = order_of(form);
  const __m512i first = _mm512_load_si512(order.places);
  const __m512i second = _mm512_load_si512(order.places + 32);
  const auto narrowed = [](const float* at) {
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(at + 16), _mm512_loadu_ps(at)));
  };
  for (std::size_t k = 0; k < size; k += kChunk) {
    const __m512i low = narrowed(x + k);
    const __m512i high = narrowed(x + k + 32);
    _mm512_storeu_si512(out + k, _mm512_permutex2var_epi16(low, first, high));
    _mm512_storeu_si512(out + k + 32, _mm512_permutex2var_epi16(low, second, high));
  }
}

// See Kernels::multiply_in_registers.
std::size_t multiply_in_registers(std::size_t rounds) {
  constexpr std::size_t kSums = 24;
  __m512 sums[kSums];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  __m512i half = _mm512_set1_epi16(0x3f00);
  asm volatile("" : "+v"(half));
  for (std::size_t i = 0; i < rounds; ++i) {
    for (__m512& sum : sums) sum = multiply_add(sum, half, half);
  }
  for (__m512& sum : sums) asm volatile("" : "+v"(sum));
  return rounds * kSums * 32;
}

constexpr ConvertedProducts kBf16Products = {takes_bf16, to_bf16, dot_bf16};

}  // namespace

const Kernels& avx512_bf16_kernels() {
  static const Kernels kernels = [] {
    Kernels copy = avx512_kernels();
    copy.name = "avx512bf16";
    copy.multiply_in_registers = multiply_in_registers;
    copy.bf16_products = &kBf16Products;
    copy.int8_products = nullptr;  // no faster than those of BF16
    return copy;
  }();
  return kernels;
}

}  // namespace outrider

#endif
