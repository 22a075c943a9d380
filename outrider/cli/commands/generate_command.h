#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider generate MODEL`. Its exit status goes to `status`.
void add_generate_command(CLI::App& app, int& status);

}  // namespace outrider
