#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider generate MODEL`, which sets `status` to its exit status.
void add_generate_command(CLI::App& app, int& status);

}  // namespace outrider
