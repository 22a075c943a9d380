#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider preflight DIR`, which runs the Python module outrider.audit.preflight in place of this process, and
// sets `status` to 2 if no Python has it.
void add_preflight_command(CLI::App& app, int& status);

}  // namespace outrider
