#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider make-model`, which sets `status` to its exit status.
void add_make_model_command(CLI::App& app, int& status);

}  // namespace outrider
