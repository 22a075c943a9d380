#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// `outrider repair`. `status` gets the process's exit status.
void add_repair_command(CLI::App& app, int& status);

}  // namespace outrider
