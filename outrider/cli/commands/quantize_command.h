#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider quantize`, which sets `status` to its exit status.
void add_quantize_command(CLI::App& app, int& status);

}  // namespace outrider
