#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// `outrider quantize`. `status` gets the process's exit status.
void add_quantize_command(CLI::App& app, int& status);

}  // namespace outrider
