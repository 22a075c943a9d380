#pragma once

namespace outrider {

// The coding of a weight's row, as far as kernels distinguish forms. A new coding needs a decoder in every path of
// kernels/kernels.h.
enum class RowCodes {
  kF32,
  kBf16,
  kF16,
  kE4m3,     // with scales
  kNibbles,  // two codes per byte, the even element in the low nibble; with scales, a table of values, optional offsets
};

}  // namespace outrider
