#pragma once

#include <nlohmann/json.hpp>

#include "outrider/binding/plan.h"

namespace outrider {

// Writes what config.json must say of how the modules of a checkpoint are stored: quantization_config, and expert_dtype
// where its method goes by that. The method stays what it is where it can say it:
//   compressed-tensors (config_groups, targets and ignore as expressions over the modules' own names), also where
//     weights are packed, or their scales are called weight_scale;
//   the releases' "fp8", with modules_to_not_convert, and NVIDIA's moe_quant_algo where experts are NVFP4 (modelopt);
//   modelopt with config_groups.
// Fields that say nothing of that are kept. Both fields go where nothing is quantised.
void describe_quantization(nlohmann::ordered_json& config, const BindingReport& binding);

}  // namespace outrider
