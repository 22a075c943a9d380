#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "outrider/checkpoint/tensor_info.h"
#include "outrider/manifest/parameter_spec.h"

namespace outrider {

// One expert's part of a stack of all experts.
struct StackPart {
  std::int32_t expert = 0;
  Slot slot = Slot::kExpertW1;
};

// "expert 5", "gate (w1) of expert 5", "experts 0 to 3 and 7", "all 8 experts".
std::string parts_text(std::span<const StackPart> parts, const TensorInfo& stack);

// "3", "3 and 5", "0 to 3, 5 and 7"; of many, the first few and how many more. Must be ascending, without duplicates.
std::string numbers_text(std::span<const std::int32_t> numbers);

}  // namespace outrider
