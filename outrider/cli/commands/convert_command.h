#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider convert`, which sets `status` to its exit status.
void add_convert_command(CLI::App& app, int& status);

}  // namespace outrider
