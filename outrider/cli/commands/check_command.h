#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider check PATH`, which sets `status` to its exit status.
void add_check_command(CLI::App& app, int& status);

}  // namespace outrider
