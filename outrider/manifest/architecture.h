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

// What Outrider has for the models of one `model_type`: a row of the table in architectures/architectures.cc.
struct Architecture {
  std::string_view model_type;  // in config.json
  // Reads the fields of a config.json, an object, into `out.config`, and lists what is wrong with them in `out.issues`.
  // `out` has traits and spelling already, and shapes_known set; it is cleared where a shape cannot be known.
  void (*read_config)(const nlohmann::json& root, const HintSource& hints, ConfigReading& out);
  // One line for each parameter that its blocks can have.
  std::span<const ParameterSpec> (*parameters)();
  // The forward pass over complete weights. Throws Error as make_model() of architectures/model.h does.
  std::unique_ptr<Model> (*make_model)(std::shared_ptr<const Weights> weights, std::unique_ptr<Backend> backend);
};

// All that Outrider runs.
std::span<const Architecture* const> architectures();

// The architecture that traits and spelling of `reading` name. nullptr, with an issue that says why, for a model that
// Outrider does not run.
const Architecture* recognise_architecture(ConfigReading& reading);

}  // namespace outrider
