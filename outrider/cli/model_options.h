#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <memory>
#include <string>

#include "outrider/model/model.h"

namespace outrider {

// What every command that runs a model can be told of how.
struct ModelArguments {
  std::string mode = "official";
  std::size_t chunk = 512;
  unsigned threads = 0;  // all of the machine's

  ModelOptions options() const;
};

// Adds --mode, --chunk and --threads, which go to `arguments`.
void add_model_options(CLI::App& command, ModelArguments& arguments);

// Reads the weights into memory, with a progress bar where that takes long, and makes the model. Weights larger than
// the memory are left on the disk, with a warning. Throws Error as Weights and Model do.
std::unique_ptr<const Model> load_model(std::shared_ptr<const CompletePlan> plan, const ModelOptions& options);

}  // namespace outrider
