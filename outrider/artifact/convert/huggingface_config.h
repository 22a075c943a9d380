#pragma once

#include <nlohmann/json.hpp>

#include "outrider/manifest/model_config.h"

namespace outrider {

// Builds a config.json for transformers from a config read in the releases' inference spelling.
nlohmann::ordered_json huggingface_config(const ConfigReading& reading);

}  // namespace outrider
