#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider repair`, which sets `status` to its exit status.
void add_repair_command(CLI::App& app, int& status);

}  // namespace outrider
