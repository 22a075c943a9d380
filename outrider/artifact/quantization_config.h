#pragma once

#include <nlohmann/json.hpp>

#include "outrider/binding/plan.h"

namespace outrider {

// What config.json must say of how the modules of a checkpoint are stored. Compressed-tensors (config_groups, targets
// and ignore as regular expressions over the modules' own names) where weights are packed or their scales are called
// weight_scale, and where `old` is of that method; the releases' "fp8" otherwise; modelopt stays modelopt. Fields of
// `old` that say nothing of that are kept. null where nothing is quantised.
nlohmann::ordered_json quantization_config(const BindingReport& binding, const nlohmann::ordered_json& old);

}  // namespace outrider
