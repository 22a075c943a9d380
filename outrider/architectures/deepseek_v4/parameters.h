#pragma once

#include <span>

#include "outrider/manifest/parameter_spec.h"

namespace outrider::deepseek_v4 {

// DeepSeek-V4's parameters and those of its drafters, in the order of Slot.
std::span<const ParameterSpec> parameters();

}  // namespace outrider::deepseek_v4
