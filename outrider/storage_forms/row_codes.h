#pragma once

namespace outrider {

// How the elements of a weight's row are coded, as far as kernels tell forms apart. Another coding needs a decoder in
// every path of kernels/kernels.h.
enum class RowCodes {
  kF32,
  kBf16,
  kF16,
  kE4m3,     // with scales
  kNibbles,  // two codes a byte, the even element in the low nibble; with scales, a table of values, maybe offsets
};

}  // namespace outrider
