#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// `outrider completion` and the hidden `outrider man-page`: what packages install is printed by the program itself, so
// it cannot lack an option. To be called when all other commands have been added.
void add_completion_command(CLI::App& app, int& status);

}  // namespace outrider
