#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/checkpoint/dtype.h"

namespace outrider {

// The result of one pass over a tensor's bytes.
struct ValueStats {
  std::uint64_t nan = 0;
  std::uint64_t infinite = 0;
  std::uint64_t nonzero = 0;   // codes that are not zero (of either sign)
  std::uint64_t negative = 0;  // values below zero, without NaN; floats only
  std::uint64_t elements = 0;
  bool all_ones = true;  // every byte is 0xFF

  void add(const ValueStats& other);
};

// Scans elements of a dtype. FP4 in F4, I8 and U8 counts bytes; a byte is zero if both nibbles are +0 or -0.
// `packed_int4`: I32 words of eight offset-binary nibbles, where zero is 8.
ValueStats scan_values(Dtype dtype, std::span<const std::byte> bytes, bool packed_int4 = false);

// The number of integers outside of [0, limit), in I64 or I32.
std::uint64_t count_out_of_range(Dtype dtype, std::span<const std::byte> bytes, std::int64_t limit);

// One element of BF16, F16 or F32 as float.
float load_float(Dtype dtype, const std::byte* at);

}  // namespace outrider
