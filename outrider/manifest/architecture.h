#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>

#include "outrider/manifest/model_config.h"
#include "outrider/manifest/parameter_spec.h"

namespace outrider {

class Backend;
class Model;
class Weights;

// Outrider's implementation of the models of one `model_type`: a row of the table in architectures/architectures.cc.
struct Architecture {
  std::string_view model_type;  // in config.json
  std::string_view gguf_name;   // general.architecture of llama.cpp's GGUF files
  // Reads the fields of `root`, an object, into `out.config`, and adds errors to `out.issues`. `out` already has traits
  // and spelling, and shapes_known set; shapes_known is cleared if a shape cannot be determined.
  void (*read_config)(const nlohmann::json& root, const HintSource& hints, ConfigReading& out);
  // One line for each parameter that the architecture's blocks can have.
  std::span<const ParameterSpec> (*parameters)();
  // Creates the forward pass for complete weights. Throws Error as make_model() of architectures/model.h does.
  std::unique_ptr<Model> (*make_model)(std::shared_ptr<const Weights> weights, std::unique_ptr<Backend> backend);
};

// The architectures that Outrider runs.
std::span<const Architecture* const> architectures();

// The architecture named by traits and spelling of `reading`. nullptr, with an issue that gives the reason, if Outrider
// does not run the model.
const Architecture* recognise_architecture(ConfigReading& reading);

}  // namespace outrider
