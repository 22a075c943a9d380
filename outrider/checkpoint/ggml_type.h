#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace outrider {

// A tensor's type in a GGUF file: the numbers of ggml's enum ggml_type.
// (https://github.com/ggml-org/llama.cpp/blob/master/ggml/include/ggml.h)
using GgmlType = std::uint32_t;
inline constexpr GgmlType kGgmlF32 = 0;
inline constexpr GgmlType kGgmlI32 = 26;

// False for numbers that ggml never gave out, or has withdrawn.
bool is_ggml_type(GgmlType type);
// I8 to I64.
bool is_ggml_integer(GgmlType type);
// "Q4_K"; "type N" if it is unknown.
std::string ggml_type_name(GgmlType type);
// Elements of a row that are stored together, 1 if not quantised; 0 if the type is unknown.
std::uint64_t ggml_block_elements(GgmlType type);

// The number of elements in a row first, then rows, matrices, and so on; 1 where there are fewer dimensions.
using GgmlShape = std::array<std::uint64_t, 4>;
// Bytes of a tensor. nullopt if its type is unknown, its rows do not consist of whole blocks, or the number does not
// fit 63 bits.
std::optional<std::uint64_t> ggml_tensor_bytes(GgmlType type, const GgmlShape& shape);

}  // namespace outrider
