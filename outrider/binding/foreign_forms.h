#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>

namespace outrider {

// A form of another engine's, by what gives it away.
struct KnownForm {
  std::string_view name;
  // How names of tensors end that no other form has, and none of DeepSeek-V4's parameters.
  std::array<std::string_view, 8> marks;
  std::array<std::string_view, 6> methods;  // quant_method, up to a colon
};
// Where a name bears the marks of two forms, the first counts.
std::span<const KnownForm> known_forms();

inline constexpr std::string_view kGptq = "GPTQ";
inline constexpr std::string_view kMlx = "MLX";
inline constexpr std::string_view kModelSlim = "Ascend ModelSlim";
inline constexpr std::string_view kNvfp4Awq = "NVFP4 AWQ with scaled activations";

// Positions in known_forms().
inline constexpr std::size_t kNoForm = std::numeric_limits<std::size_t>::max();
std::size_t form_called(std::string_view name);
std::size_t form_of_method(std::string_view quant_method);
std::size_t form_of_name(std::string_view tensor);

// "layers.0.ffn.experts.0.w1.g_idx" ends with the mark "g_idx".
bool ends_with_mark(std::string_view name, std::string_view mark);

}  // namespace outrider
