#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace outrider {

// Rounding of values between the operations of a forward pass.
enum class NumericMode {
  kOfficial,  // as in the release's inference code: BF16 between operations; activations of FP8 and FP4 weights, keys
              // and values rounded through FP8, the indexer's through FP4. The model was trained with this rounding.
  kFast,   // as kOfficial, but activations of 4-bit weights rounded to int8, 32 with a scale (which may be any number)
  kExact,  // float everywhere, nothing rounded: the result of an unquantised model
};

// As --mode spells them, in the order of the enum.
inline constexpr std::array<std::string_view, 3> kModeNames = {"official", "fast", "exact"};
inline std::string_view mode_name(NumericMode mode) {
  return kModeNames[static_cast<std::size_t>(mode)];
}

// Of one of these names.
inline NumericMode numeric_mode(std::string_view name) {
  return static_cast<NumericMode>(std::ranges::find(kModeNames, name) - kModeNames.begin());
}

inline constexpr std::size_t kKeyBlock = 64;    // keys and values, rounded through FP8
inline constexpr std::size_t kIndexBlock = 32;  // the indexer's queries and keys, rounded through FP4

// Rounds x through E2M1 in blocks of `block` values with power-of-two scales: 2^ceil(log2(max(amax, 6*2^-126) / 6)).
void round_through_fp4(std::span<float> x, std::size_t block);

// The Walsh-Hadamard transform of x (whose size is a power of two), scaled by size^-0.5 to preserve lengths.
void hadamard(std::span<float> x);

}  // namespace outrider
