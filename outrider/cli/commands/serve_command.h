#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider serve MODEL`, which sets `status` to its exit status.
void add_serve_command(CLI::App& app, int& status);

}  // namespace outrider
