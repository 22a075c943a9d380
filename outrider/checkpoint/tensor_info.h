#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "outrider/checkpoint/dtype.h"

namespace outrider {

// One entry of a safetensors header. `name` and `shape` point into the arena of whoever handed it out.
struct TensorInfo {
  std::string_view name;
  std::span<const std::uint64_t> shape;
  std::uint64_t begin = 0;  // bytes, from the start of the file's data section
  std::uint64_t end = 0;
  std::uint32_t file = 0;  // position in Checkpoint::files()
  Dtype dtype = Dtype::kU8;

  std::uint64_t bytes() const { return end - begin; }
};

// Bytes that `shape` elements of `dtype` take, or nothing when the product overflows 64 bits or is no whole number of
// bytes (F4 and F6).
std::optional<std::uint64_t> tensor_bytes(Dtype dtype, std::span<const std::uint64_t> shape);

inline bool same_shape(std::span<const std::uint64_t> a, std::span<const std::uint64_t> b) {
  return std::ranges::equal(a, b);
}

// "[4096, 2048]"; "[]" for a scalar.
std::string shape_text(std::span<const std::uint64_t> shape);

}  // namespace outrider
