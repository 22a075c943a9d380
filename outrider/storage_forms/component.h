#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace outrider {

// The part of a stored linear that a tensor holds, by the last component of its name.
enum class Component : std::uint8_t {
  kWeight,             // X.weight, or a parameter that is not a linear
  kScale,              // X.scale (official FP8 and FP4)
  kWeightScale,        // X.weight_scale (compressed-tensors, modelopt)
  kWeightScaleInv,     // X.weight_scale_inv (transformers, vLLM FP8)
  kWeightPacked,       // X.weight_packed
  kWeightShape,        // X.weight_shape
  kWeightZeroPoint,    // X.weight_zero_point
  kWeightGIdx,         // X.weight_g_idx
  kWeightGlobalScale,  // X.weight_global_scale (NVFP4)
  kInputGlobalScale,   // X.input_global_scale
  kWeightScale2,       // X.weight_scale_2 (NVFP4 of modelopt)
  kInputScale,         // X.input_scale
};
inline constexpr std::size_t kComponentCount = 12;
std::string_view component_suffix(Component component);  // "weight_scale_inv"
std::optional<Component> component_with_suffix(std::string_view suffix);

// The possible names of a weight's scales; a weight has one of them.
inline constexpr std::array kScaleSpellings = {Component::kScale, Component::kWeightScale, Component::kWeightScaleInv};
constexpr bool is_scale_spelling(Component c) {
  return c == Component::kScale || c == Component::kWeightScale || c == Component::kWeightScaleInv;
}

// A value per component.
template <typename T>
struct ByComponent {
  std::array<T, kComponentCount> all{};

  constexpr T& operator[](Component c) { return all[static_cast<std::size_t>(c)]; }
  constexpr const T& operator[](Component c) const { return all[static_cast<std::size_t>(c)]; }
};

}  // namespace outrider
