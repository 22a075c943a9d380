#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider logits MODEL`. Its exit status goes to `status`.
void add_logits_command(CLI::App& app, int& status);

}  // namespace outrider
