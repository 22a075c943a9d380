#pragma once

#include "outrider/kernels/kernels.h"

// Kernels::dot_stored for any instruction set, shared by kernels_avx2.cc and kernels_avx512.cc. For a few tokens,
// weights are decoded in registers and multiplied with all of them; for more, a panel of weights is decoded to floats,
// and tiles of rows and tokens are multiplied from the caches. An instruction set is a type with these members:
//
//   Lanes            kLanes sums, or kLanes decoded weights: zero(), load(), store(), add_product(weights, x), total();
//                    total_reordered() of sums in the order of the codes that are decoded in another order
//   F32Row, …        the row codings: open(rows, r, tile) goes to row r, of which `tile` are read at once;
//                    start(g) goes to its group g; decode(k) returns elements k to k + kLanes of that group, in another
//                    order (Kernels::lane_order) if kReordered; sound() returns at the end whether the decoded values
//                    are valid
//   rows_at_once()   number of rows, for a number of tokens, for which the registers suffice
//   kFewTokens       maximum number of tokens multiplied by one decoding in registers
//   kPanelFrom       number of tokens from which a panel is faster
//   Vector           kWidth floats: zero(), load(), store(), add_product(weights, x)
//   kPanelTokens     tokens of a tile, with kPanelRows rows, for which the registers suffice
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

// Floats of tokens that fit in the L1 cache.
constexpr std::size_t kCacheFloats = 6144;
// Elements of a row in a panel: few enough that a tile's rows and tokens fit in the L1 cache.
constexpr std::size_t kPanelSize = 512;
// From one row of a panel to the next: an odd number of cache lines, so that rows do not share the same sets.
constexpr std::size_t kPanelStep = kPanelSize + 16;
// Rows of a tile.
constexpr std::size_t kPanelRows = 4;
// Maximum number of tokens whose sums are kept from one panel to the next.
constexpr std::size_t kMostPanelTokens = 64;

// Elements between two prefetches of a row, and vectors that a loop decodes at once.
constexpr std::size_t kStep = 4 * kLanes;

// Codes of one row, of kBits each.
template <std::size_t kBits>
struct RowCursor {
  static constexpr bool kReordered = false;

  void open(const StoredRows& rows, std::size_t r, std::size_t tile) {
    codes = rows.codes + r * rows.row_bytes;
    // To the same element of the row that this cursor reads next, or one of those after it.
    ahead = tile * rows.row_bytes;
    while (ahead < kPrefetchBytes) ahead *= 2;
  }
  void start(std::size_t) {}
  // Prefetches what kStep elements from k on are read from, further ahead.
  void fetch(std::size_t k) const {
    for (std::size_t i = 0; i < kStep * kBits / 8; i += 64) prefetch(codes + k * kBits / 8 + i, ahead);
  }
  bool sound() const { return true; }

  const std::byte* codes;
  std::size_t ahead;
};

// Calls use(r, k, weights) for elements [begin, end) of the rows, kLanes at a time. `group`: elements per start() call.
// Inlined, so that rows stay in registers.
template <bool kGroupsOfLanes, std::size_t kRows, typename Row, typename Use>
[[gnu::always_inline]] inline void decode_groups(Row (&rows)[kRows], std::size_t group, std::size_t begin,
                                                 std::size_t end, const Use& use) {
  std::size_t g = begin / group;
  std::size_t next = (g + 1) * group;
  for (std::size_t r = 0; r < kRows; ++r) rows[r].start(g);
  const auto vector = [&](std::size_t k) __attribute__((always_inline)) {
    if (kGroupsOfLanes || k == next) {
      g = kGroupsOfLanes ? k / kLanes : g + 1;
      next += group;
      for (std::size_t r = 0; r < kRows; ++r) rows[r].start(g);
    }
    for (std::size_t r = 0; r < kRows; ++r) use(r, k, rows[r].decode(k));
  };
  std::size_t k = begin;
  for (; k + kStep <= end; k += kStep) {
    for (std::size_t r = 0; r < kRows; ++r) rows[r].fetch(k);
    for (std::size_t i = 0; i < kStep; i += kLanes) vector(k + i);
  }
  if (k < end) {
    for (std::size_t r = 0; r < kRows; ++r) rows[r].fetch(k);
  }
  for (; k < end; k += kLanes) vector(k);
}

template <std::size_t kRows, typename Row, typename Use>
[[gnu::always_inline]] inline void decode_rows(Row (&rows)[kRows], std::size_t group, std::size_t begin,
                                               std::size_t end, const Use& use) {
  if (group == kLanes) {
    decode_groups<true>(rows, group, begin, end, use);
  } else {
    decode_groups<false>(rows, group, begin, end, use);
  }
}

struct Output {
  float* at;
  std::size_t row_step;
  std::size_t token_step;
};

template <typename Row, typename Lanes>
float total(const Lanes& lanes) {
  if constexpr (Row::kReordered) {
    return lanes.total_reordered();
  } else {
    return lanes.total();
  }
}

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
  decode_rows(
      rows, group, begin, end, [&](std::size_t r, std::size_t k, const Lanes& weights) __attribute__((always_inline)) {
        for (std::size_t t = 0; t < kTokens; ++t) lanes[r][t].add_product(weights, tokens + t * token_stride + k);
      });
  bool sound = true;
  for (std::size_t r = 0; r < kRows; ++r) {
    sound = sound && rows[r].sound();
    for (std::size_t t = 0; t < kTokens; ++t) {
      if (end < size) {
        lanes[r][t].store(kept + (r * kTokens + t) * kLanes);
      } else {
        out.at[r * out.row_step + t * out.token_step] = total<Row>(lanes[r][t]);
      }
    }
  }
  return sound;
}

template <typename Isa, typename Row, std::size_t kTokens>
bool stored_few_tokens(const StoredRows& rows, std::size_t group, std::size_t row_count, const float* tokens,
                       std::size_t token_stride, std::size_t size, Output out) {
  constexpr std::size_t kRows = Isa::rows_at_once(kTokens);
  constexpr std::size_t kBlock = kCacheFloats / kTokens;
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

// Adds the products of `size` elements to the sums `kept` [rows, tokens, kLanes], whose rows are `kept_step` apart. A
// vector's share of the lanes is summed over all elements before the next vector's, so that the sums stay in registers.
template <typename Isa, std::size_t kRows, std::size_t kTokens>
void panel_tile(const float* panel, const float* tokens, std::size_t token_stride, std::size_t size, float* kept,
                std::size_t kept_step) {
  using Vector = typename Isa::Vector;
  for (std::size_t lane = 0; lane < kLanes; lane += Isa::kWidth) {
    Vector sums[kRows][kTokens];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t t = 0; t < kTokens; ++t) sums[r][t] = Vector::load(kept + r * kept_step + t * kLanes + lane);
    }
    for (std::size_t k = lane; k < size; k += kLanes) {
      Vector x[kTokens];
      for (std::size_t t = 0; t < kTokens; ++t) x[t] = Vector::load(tokens + t * token_stride + k);
      for (std::size_t r = 0; r < kRows; ++r) {
        const Vector weights = Vector::load(panel + r * kPanelStep + k);
        for (std::size_t t = 0; t < kTokens; ++t) sums[r][t].add_product(weights, x[t]);
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t t = 0; t < kTokens; ++t) sums[r][t].store(kept + r * kept_step + t * kLanes + lane);
    }
  }
}

// kRows rows of a panel, which stay in the L1 cache, and all tokens.
template <typename Isa, std::size_t kRows, std::size_t kTokens = Isa::kPanelTokens>
void panel_tiles(const float* panel, const float* tokens, std::size_t token_count, std::size_t token_stride,
                 std::size_t size, float* kept, std::size_t kept_step) {
  for (; token_count >= kTokens; token_count -= kTokens) {
    panel_tile<Isa, kRows, kTokens>(panel, tokens, token_stride, size, kept, kept_step);
    tokens += kTokens * token_stride;
    kept += kTokens * kLanes;
  }
  if constexpr (kTokens > 1) {
    panel_tiles<Isa, kRows, kTokens - 1>(panel, tokens, token_count, token_stride, size, kept, kept_step);
  }
}

// All rows of a panel.
template <typename Isa, std::size_t kRows = kPanelRows>
void panel_groups(const float* panel, std::size_t row_count, const float* tokens, std::size_t token_count,
                  std::size_t token_stride, std::size_t size, float* kept, std::size_t kept_step) {
  for (; row_count >= kRows; row_count -= kRows) {
    panel_tiles<Isa, kRows>(panel, tokens, token_count, token_stride, size, kept, kept_step);
    panel += kRows * kPanelStep;
    kept += kRows * kept_step;
  }
  if constexpr (kRows > 1) {
    panel_groups<Isa, kRows / 2>(panel, row_count, tokens, token_count, token_stride, size, kept, kept_step);
  }
}

// Up to kMostPanelTokens tokens.
template <typename Isa, typename Row>
bool stored_panels(const StoredRows& stored, std::size_t group, std::size_t row_count, const float* tokens,
                   std::size_t token_count, std::size_t token_stride, std::size_t size, Output out) {
  using Lanes = typename Isa::Lanes;
  alignas(64) float panel[kStoredRows * kPanelStep];
  alignas(64) float kept[kStoredRows * kMostPanelTokens * kLanes];
  const std::size_t kept_step = token_count * kLanes;
  for (std::size_t i = 0; i < row_count * token_count; ++i) Lanes::zero().store(kept + i * kLanes);
  Row rows[kStoredRows];
  for (std::size_t r = 0; r < row_count; ++r) rows[r].open(stored, r, row_count);
  for (std::size_t begin = 0; begin < size; begin += kPanelSize) {
    const std::size_t end = smaller(begin + kPanelSize, size);
    for (std::size_t r = 0; r < row_count; ++r) {
      float* to = panel + r * kPanelStep;
      Row row[1] = {rows[r]};
      decode_rows(
          row, group, begin, end, [&](std::size_t, std::size_t k, const Lanes& weights) __attribute__((always_inline)) {
            weights.store(to + k - begin);
          });
      rows[r] = row[0];
    }
    panel_groups<Isa>(panel, row_count, tokens + begin, token_count, token_stride, end - begin, kept, kept_step);
  }
  bool sound = true;
  for (std::size_t r = 0; r < row_count; ++r) {
    sound = sound && rows[r].sound();
    for (std::size_t t = 0; t < token_count; ++t) {
      out.at[r * out.row_step + t * out.token_step] = total<Row>(Lanes::load(kept + r * kept_step + t * kLanes));
    }
  }
  return sound;
}

// Up to kTokens tokens.
template <typename Isa, typename Row, std::size_t kTokens>
bool stored_rest(const StoredRows& rows, std::size_t group, std::size_t row_count, const float* tokens,
                 std::size_t token_count, std::size_t token_stride, std::size_t size, Output out) {
  if (token_count == kTokens) {
    return stored_few_tokens<Isa, Row, kTokens>(rows, group, row_count, tokens, token_stride, size, out);
  }
  if constexpr (kTokens > 1) {
    return stored_rest<Isa, Row, kTokens - 1>(rows, group, row_count, tokens, token_count, token_stride, size, out);
  }
  return true;
}

template <typename Isa, typename Row>
bool stored_tokens(const StoredRows& rows, std::size_t group, std::size_t row_count, const float* tokens,
                   std::size_t token_count, std::size_t token_stride, std::size_t size, Output out) {
  bool sound = true;
  while (token_count != 0) {
    const bool panels = token_count >= Isa::kPanelFrom;
    const std::size_t taken = smaller(token_count, panels ? kMostPanelTokens : Isa::kFewTokens);
    const auto run = panels ? stored_panels<Isa, Row> : stored_rest<Isa, Row, Isa::kFewTokens>;
    sound = run(rows, group, row_count, tokens, taken, token_stride, size, out) && sound;
    tokens += taken * token_stride;
    out.at += taken * out.token_step;
    token_count -= taken;
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

// See Kernels::multiply_in_registers.
template <typename Isa>
std::size_t multiply_in_registers(std::size_t rounds) {
  using Vector = typename Isa::Vector;
  constexpr std::size_t kSums = Isa::kPanelTokens * kPanelRows;
  alignas(64) float values[Isa::kWidth];
  for (float& v : values) v = 0.5F;
  asm volatile("" : : "r"(values) : "memory");
  const Vector half = Vector::load(values);
  Vector sums[kSums];
  for (Vector& sum : sums) sum = half;
  for (std::size_t i = 0; i < rounds; ++i) {
    for (Vector& sum : sums) sum.add_product(half, half);
  }
  for (const Vector& sum : sums) {
    sum.store(values);
    asm volatile("" : : "r"(values) : "memory");
  }
  return rounds * kSums * Isa::kWidth;
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
