#pragma once

#include <nlohmann/json.hpp>

#include "outrider/manifest/model_config.h"

namespace outrider {

// A config.json as transformers reads it, for a model whose config was read from the releases' inference spelling.
nlohmann::ordered_json huggingface_config(const ConfigReading& reading);

}  // namespace outrider
