#include "outrider/storage_forms/component.h"

namespace outrider {
namespace {

constexpr std::array<std::string_view, kComponentCount> kSuffixes = {"weight",
                                                                     "scale",
                                                                     "weight_scale",
                                                                     "weight_scale_inv",
                                                                     "weight_packed",
                                                                     "weight_shape",
                                                                     "weight_zero_point",
                                                                     "weight_g_idx",
                                                                     "weight_global_scale",
                                                                     "input_global_scale",
                                                                     "weight_scale_2",
                                                                     "input_scale"};

}  // namespace

std::string_view component_suffix(Component component) {
  return kSuffixes[static_cast<std::size_t>(component)];
}

std::optional<Component> component_with_suffix(std::string_view suffix) {
  for (std::size_t i = 0; i < kComponentCount; ++i) {
    if (kSuffixes[i] == suffix) return static_cast<Component>(i);
  }
  return std::nullopt;
}

}  // namespace outrider
