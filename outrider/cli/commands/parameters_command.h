#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// The hidden `outrider parameters`: prints the tables of docs/parameters.md.
void add_parameters_command(CLI::App& app);

}  // namespace outrider
