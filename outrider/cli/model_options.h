#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
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

}  // namespace outrider
