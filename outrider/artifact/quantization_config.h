#pragma once

#include <nlohmann/json.hpp>

#include "outrider/binding/plan.h"

namespace outrider {

// Writes the fields of config.json that describe how a checkpoint's modules are stored: quantization_config, and
// expert_dtype if the method needs it. The method is kept if it can describe the tensors:
//   compressed-tensors (config_groups, targets and ignore as expressions over the modules' own names), also where
//     weights are packed, or their scales are called weight_scale;
//   the releases' "fp8", with modules_to_not_convert, and NVIDIA's moe_quant_algo where experts are NVFP4 (modelopt);
//   modelopt with config_groups.
// Other fields are kept. Both fields are removed if nothing is quantised.
void describe_quantization(nlohmann::ordered_json& config, const BindingReport& binding);

}  // namespace outrider
