#include "outrider/checkpoint/tensor_info.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace outrider {

std::optional<std::uint64_t> tensor_bytes(Dtype dtype, std::span<const std::uint64_t> shape) {
  std::uint64_t bits = dtype_bits(dtype);
  for (const std::uint64_t dim : shape) {
    if (__builtin_mul_overflow(bits, dim, &bits)) return std::nullopt;
  }
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace outrider
