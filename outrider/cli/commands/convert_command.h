#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// `outrider convert`. `status` gets the process's exit status.
void add_convert_command(CLI::App& app, int& status);

}  // namespace outrider
