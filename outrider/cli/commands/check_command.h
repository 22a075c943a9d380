#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider check PATH`. Its exit status goes to `status`.
void add_check_command(CLI::App& app, int& status);

}  // namespace outrider
