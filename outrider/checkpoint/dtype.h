#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace outrider {

// Every dtype of the safetensors format (safetensors 0.8). FP4 weights also occur packed in I8 or U8.
enum class Dtype : std::uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};
inline constexpr int kDtypeCount = 22;

// The format's spelling, e.g. "F8_E4M3".
std::string_view dtype_name(Dtype dtype);
std::optional<Dtype> dtype_from_name(std::string_view name);
// Bits of one element: 4 for F4, 6 for F6, 64 for C64.
unsigned dtype_bits(Dtype dtype);
bool is_integer(Dtype dtype);
constexpr bool is_half(Dtype dtype) {
  return dtype == Dtype::kBF16 || dtype == Dtype::kF16;
}
// The dtypes of what is not quantised.
constexpr bool is_plain_float(Dtype dtype) {
  return is_half(dtype) || dtype == Dtype::kF32;
}

}  // namespace outrider
