#pragma once

#include "outrider/kernels/kernels.h"

// Kernels::dot_stored for any instruction set, shared by kernels_avx2.cc and kernels_avx512.cc. An instruction set is a
// type with these members:
//
//   Lanes            kLanes sums, or kLanes decoded weights: zero(), load(), store(), add_product(weights, x), total();
//                    total_even_odd() of sums in that order
//   F32Row, …        the row codings: open(rows, r, tile) goes to row r, of which `tile` are read at once;
//                    start(g) goes to its group g; decode(k) returns elements k to k + kLanes of that group, in the
//                    order of even_odd() if kEvenOdd; sound() returns at the end whether the decoded values are valid;
//                    kMostTokens is the maximum number of tokens per pass
//   kCacheFloats     floats of tokens that fit in the L1 cache
//   rows_at_once()   number of rows, for a number of tokens, for which the registers suffice
//
// The anonymous namespace is intentional: each file that includes this header is compiled for a different instruction
// set and must not share functions with the others.

namespace outrider {
namespace {

// Rows are contiguous, so the data this far ahead is needed soon; the hardware prefetcher falls behind if each byte
// takes much computation. Prefetching past the end is harmless.
constexpr std::size_t kPrefetchBytes = 8192;

void prefetch(const std::byte* at, std::size_t ahead = kPrefetchBytes) {
  __builtin_prefetch(at + ahead);
}

std::size_t smaller(std::size_t a, std::size_t b) {
  return a < b ? a : b;
}

// Codes of one row.
template <std::size_t kMost>
struct RowCursor {
  static constexpr std::size_t kMostTokens = kMost;
  static constexpr bool kEvenOdd = false;

  void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
    codes = rows.codes + r * rows.row_bytes;
    // To the same element of the row that this cursor reads next, or one of those after it.
    ahead = tile * rows.row_bytes;
    while (ahead < kPrefetchBytes) ahead *= 2;
  }
  void start(std::size_t) {}
  bool sound() const { return true; }

  const std::byte* codes;
  std::size_t ahead;
};

struct Output {
  float* at;
  std::size_t row_step;
  std::size_t token_step;
};

// Elements [begin, end) of `size`: sums start from `kept` and are stored there, or in the output at the end of the
// rows.
template <typename Isa, typename Row, std::size_t kRows, std::size_t kTokens>
bool stored_tile(const StoredRows& stored, std::size_t group, const float* tokens, std::size_t token_stride,
                 std::size_t begin, std::size_t end, std::size_t size, float* kept, Output out) {
  using Lanes = typename Isa::Lanes;
  Row rows[kRows];
  Lanes lanes[kRows][kTokens];
  for (std::size_t r = 0; r < kRows; ++r) {
    rows[r].open(stored, r, kRows);
    for (std::size_t t = 0; t < kTokens; ++t) {
      lanes[r][t] = begin == 0 ? Lanes::zero() : Lanes::load(kept + (r * kTokens + t) * kLanes);
    }
  }
  std::size_t k = begin;
  for (std::size_t g = begin / group; k < end; ++g) {
    for (std::size_t r = 0; r < kRows; ++r) rows[r].start(g);
    for (const std::size_t group_end = smaller(k + group, end); k < group_end; k += kLanes) {
      for (std::size_t r = 0; r < kRows; ++r) {
        const Lanes weights = rows[r].decode(k);
        for (std::size_t t = 0; t < kTokens; ++t) lanes[r][t].add_product(weights, tokens + t * token_stride + k);
      }
    }
  }
  bool sound = true;
  for (std::size_t r = 0; r < kRows; ++r) {
    sound = sound && rows[r].sound();
    for (std::size_t t = 0; t < kTokens; ++t) {
      if (end < size) {
        lanes[r][t].store(kept + (r * kTokens + t) * kLanes);
      } else if constexpr (Row::kEvenOdd) {
        out.at[r * out.row_step + t * out.token_step] = lanes[r][t].total_even_odd();
      } else {
        out.at[r * out.row_step + t * out.token_step] = lanes[r][t].total();
      }
    }
  }
  return sound;
}

template <typename Isa, typename Row, std::size_t kTokens>
bool stored_rows(const StoredRows& rows, std::size_t group, std::size_t row_count, const float* tokens,
                 std::size_t token_stride, std::size_t size, Output out) {
  constexpr std::size_t kRows = Isa::rows_at_once(kTokens);
  constexpr std::size_t kBlock = Isa::kCacheFloats / kTokens;
  // Number of elements computed for all rows before the next elements.
  const std::size_t block = group >= kBlock ? group : kBlock / group * group;
  alignas(64) float kept[kStoredRows * kTokens * kLanes];
  bool sound = true;
  for (std::size_t begin = 0; begin < size; begin += block) {
    const std::size_t end = smaller(begin + block, size);
    StoredRows at = rows;
    Output to = out;
    std::size_t r = 0;
    const auto advance = [&](std::size_t count) {
      r += count;
      at.codes += count * at.row_bytes;
      if (at.scales != nullptr) at.scales += count * at.scale_step;
      if (at.offsets != nullptr) at.offsets += count * at.scale_step;
      to.at += count * to.row_step;
    };
    while (r + kRows <= row_count) {
      sound = stored_tile<Isa, Row, kRows, kTokens>(at, group, tokens, token_stride, begin, end, size,
                                                    kept + r * kTokens * kLanes, to) &&
              sound;
      advance(kRows);
    }
    while (r < row_count) {
      sound = stored_tile<Isa, Row, 1, kTokens>(at, group, tokens, token_stride, begin, end, size,
                                                kept + r * kTokens * kLanes, to) &&
              sound;
      advance(1);
    }
  }
  return sound;
}

// `group`: elements per start() call.
template <typename Isa, typename Row>
bool stored_tokens(const StoredRows& rows, std::size_t group, std::size_t row_count, const float* tokens,
                   std::size_t token_count, std::size_t token_stride, std::size_t size, Output out) {
  bool sound = true;
  const auto run = [&]<std::size_t kTokens>() {
    sound = stored_rows<Isa, Row, kTokens>(rows, group, row_count, tokens, token_stride, size, out) && sound;
    tokens += kTokens * token_stride;
    out.at += kTokens * out.token_step;
    token_count -= kTokens;
  };
  while (token_count != 0) {
    const std::size_t taken = smaller(token_count, Row::kMostTokens);
    if (taken == 1) {
      run.template operator()<1>();
    } else if (taken == 2) {
      run.template operator()<2>();
    } else if constexpr (Row::kMostTokens > 2) {
      if (taken == 3) {
        run.template operator()<3>();
      } else if (taken == 4 || taken == 7) {
        run.template operator()<4>();
      } else if constexpr (Row::kMostTokens > 4) {
        if (taken == 5) {
          run.template operator()<5>();
        } else if (taken == 6) {
          run.template operator()<6>();
        } else {
          run.template operator()<8>();
        }
      }
    }
  }
  return sound;
}

// Whether the scales of E4M3 rows are small enough to be multiplied by 2^120.
bool moderate(const StoredRows& rows, std::size_t row_count, std::size_t size) {
  const std::size_t count = (size + rows.group - 1) / rows.group;
  for (std::size_t r = 0; r < (rows.scale_step == 0 ? 1 : row_count); ++r) {
    const float* scales = rows.scales + r * rows.scale_step;
    for (std::size_t i = 0; i < count; ++i) {
      if (!(scales[i] < 0x1p7F && scales[i] > -0x1p7F)) return false;
    }
  }
  return true;
}

template <typename Isa>
bool dot_stored(const StoredRows& rows, std::size_t row_count, const float* tokens, std::size_t token_count,
                std::size_t token_stride, std::size_t size, float* out, std::size_t row_step, std::size_t token_step) {
  if (size % kLanes != 0) return false;
  const auto run = [&]<typename Row>(std::size_t group) {
    return stored_tokens<Isa, Row>(rows, group, row_count, tokens, token_count, token_stride, size,
                                   {out, row_step, token_step});
  };
  switch (rows.form) {
    case RowCodes::kF32:
      return run.template operator()<typename Isa::F32Row>(size);
    case RowCodes::kBf16:
      return run.template operator()<typename Isa::Bf16Row>(size);
    case RowCodes::kF16:
      return run.template operator()<typename Isa::F16Row>(size);
    case RowCodes::kE4m3:
      if (rows.group % kLanes != 0 || !moderate(rows, row_count, size)) return false;
      return run.template operator()<typename Isa::E4m3Row>(rows.group);
    default:
      break;
  }
  if (rows.group == kLanes / 2) {
    return rows.offsets == nullptr ? run.template operator()<typename Isa::template NibblePairRow<false>>(kLanes)
                                   : run.template operator()<typename Isa::template NibblePairRow<true>>(kLanes);
  }
  if (rows.group % kLanes != 0) return false;
  return rows.offsets == nullptr ? run.template operator()<typename Isa::template NibbleRow<false>>(rows.group)
                                 : run.template operator()<typename Isa::template NibbleRow<true>>(rows.group);
}

}  // namespace
}  // namespace outrider
