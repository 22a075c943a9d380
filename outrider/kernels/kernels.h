#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "outrider/storage_forms/row_codes.h"

namespace outrider {

// Sums run over this many lanes: lane l sums the products of elements l, l + kLanes, …, and the lanes are added
// pairwise, halves first. The order depends only on the length, so a result does not depend on other results computed
// in the same call.
inline constexpr std::size_t kLanes = 32;

// Maximum number of rows per call of Kernels::dot_rows and of dot_stored.
inline constexpr std::size_t kRowTile = 4;
inline constexpr std::size_t kStoredRows = 16;

// An order of the elements in each kLanes: the element at each place.
using LaneOrder = std::array<std::uint8_t, kLanes>;

// Rows of a weight in their storage form.
struct StoredRows {
  RowCodes form = RowCodes::kF32;
  const std::byte* codes = nullptr;  // of the first row
  std::size_t row_bytes = 0;         // from one row's codes to the next row's
  const float* values = nullptr;     // kNibbles: [16], the value of each code, a BF16 number
  // For each row's groups of `group` elements; `scale_step` from one row's to the next row's (0: shared by all rows). A
  // weight is (value - offset) * scale, rounded to float.
  const float* scales = nullptr;
  const float* offsets = nullptr;  // may be null
  std::size_t scale_step = 0;
  std::size_t group = 0;
};

// Products with tokens converted to a smaller type: several times as fast as in float, and not bit-identical to these.
// A result does not depend on others computed in the same call.
struct ConvertedProducts {
  // Whether rows of this coding are supported. `group`: as in StoredRows; `offsets`: whether they have any.
  bool (*takes)(RowCodes form, std::size_t group, bool offsets, std::size_t size);
  // Converts a token for rows of this coding, to at most two bytes an element.
  void (*convert)(RowCodes form, std::size_t group, const float* x, std::size_t size, std::uint16_t* out);
  // As Kernels::dot_stored. `token_stride`: in elements of two bytes. A NaN code gives NaN.
  void (*dot)(const StoredRows& rows, std::size_t row_count, const std::uint16_t* tokens, std::size_t token_count,
              std::size_t token_stride, std::size_t size, float* out, std::size_t row_step, std::size_t token_step);
};

// The inner loops for one instruction set. The length of a vector is a multiple of kLanes (see padded()) unless stated
// otherwise; pointers need no alignment. AVX2 and AVX-512 are bit-identical. The scalar path rounds products before
// adding them (baseline x86-64 has no fused multiply-add), and is bit-identical if products are exact, as between BF16
// values.
struct Kernels {
  std::string_view name;
  // The orders in which dot_stored decodes kBf16 and kNibbles rows, which take the fewest operations. Null: as stored.
  const LaneOrder* bf16_order = nullptr;
  const LaneOrder* nibbles_order = nullptr;

  // out[r * row_step + t * token_step] = rows[r] · tokens[t], r < row_count <= kRowTile. rows: contiguous, `size`
  // apart; tokens: `token_stride` apart.
  void (*dot_rows)(const float* rows, std::size_t row_count, const float* tokens, std::size_t token_count,
                   std::size_t token_stride, std::size_t size, float* out, std::size_t row_step,
                   std::size_t token_step);
  // The same for up to kStoredRows rows in their storage form, decoded in registers: bit-identical to decoding them and
  // calling dot_rows. Returns false, and leaves `out` undefined, for unsupported rows: sizes or groups that are not a
  // multiple of the vector length, NaN codes, huge scales. May be null.
  //
  // Tokens must be in the order in which the rows are decoded (see lane_order()); if that is not null, it never returns
  // false for sizes of whole vectors and groups of whole or half vectors.
  bool (*dot_stored)(const StoredRows& rows, std::size_t row_count, const float* tokens, std::size_t token_count,
                     std::size_t token_stride, std::size_t size, float* out, std::size_t row_step,
                     std::size_t token_step);
  // out[i] += factors[r] * x[r * step + i], row after row.
  void (*add_scaled_rows)(const float* factors, const float* x, std::size_t rows, std::size_t step, std::size_t size,
                          float* out);

  // Bit-identical on all paths.
  // out[i] = weights[0] * x[i] + weights[1] * x[step + i] + …, products rounded.
  void (*weighted_sum)(const float* x, std::size_t rows, std::size_t step, const float* weights, std::size_t size,
                       float* out);
  // Rounds each value to BF16.
  void (*round_bf16)(float* x, std::size_t size);
  // Rounds x through E4M3 in blocks of `block` values (the last may be shorter), each with a power-of-two scale:
  // 2^ceil(log2(max(amax, 1e-4) / 448)).
  void (*round_fp8)(float* x, std::size_t size, std::size_t block);

  // Multiplies and adds in registers only, `rounds` times as many as one round holds, and returns how many: what these
  // instructions can reach. May be null.
  std::size_t (*multiply_in_registers)(std::size_t rounds);

  // Decoders of any number of elements `size`.
  void (*bf16)(const std::byte* in, std::size_t size, float* out);
  void (*f16)(const std::byte* in, std::size_t size, float* out);
  // out = e4m3 code * scales[i / block]; a NaN code gives NaN.
  void (*e4m3)(const std::byte* codes, const float* scales, std::size_t block, std::size_t size, float* out);
  // out = 2^(code - 127); code 255 gives NaN.
  void (*e8m0)(const std::byte* codes, std::size_t size, float* out);
  // RowCodes::kNibbles: out = (values[code] - offsets[i / group]) * scales[i / group]. `offsets` may be null.
  void (*nibbles)(const std::byte* codes, const float* values, const float* scales, const float* offsets,
                  std::size_t group, std::size_t size, float* out);

  // Null: none.
  const ConvertedProducts* bf16_products = nullptr;  // exact for tokens that are BF16 values, as in official numerics
  const ConvertedProducts* int8_products = nullptr;  // rounds tokens to 8 bits; of 4-bit weights only
};

inline constexpr std::size_t padded(std::size_t size) {
  return (size + kLanes - 1) / kLanes * kLanes;
}

// Elements from one token to the next where there are many: tokens a power of two apart would share a few sets of the
// caches.
inline constexpr std::size_t token_step(std::size_t size) {
  return padded(size) + kLanes / 2;
}

// The order in which dot_stored decodes such rows; null: as stored.
const LaneOrder* lane_order(const Kernels& kernels, RowCodes form);
// Reorders each kLanes elements. `size`: a multiple of kLanes. `out` must not be `x`.
void reorder(const LaneOrder& order, const float* x, std::size_t size, float* out);

const Kernels& scalar_kernels();
// The paths that this machine supports, slowest (scalar) first.
std::span<const Kernels* const> available_kernels();
// The fastest path, or the one that the environment variable OUTRIDER_KERNELS names ("scalar", "avx2", "avx512").
// "avx512bf16": AVX-512 with bf16_products. Throws Error if it names a path that this machine does not support.
const Kernels& default_kernels();

}  // namespace outrider
