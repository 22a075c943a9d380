#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider logits MODEL`, which sets `status` to its exit status.
void add_logits_command(CLI::App& app, int& status);

}  // namespace outrider
