#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider serve MODEL`. Its exit status goes to `status`.
void add_serve_command(CLI::App& app, int& status);

}  // namespace outrider
