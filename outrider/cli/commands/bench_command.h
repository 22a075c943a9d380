#pragma once

#include <CLI/CLI.hpp>

namespace outrider {

// Adds `outrider bench` with its subcommands `serve`, `latency` and `kernels`.
void add_bench_command(CLI::App& app, int& status);

void add_bench_serve_command(CLI::App& bench, int& status);
void add_bench_latency_command(CLI::App& bench, int& status);
void add_bench_kernels_command(CLI::App& bench, int& status);

}  // namespace outrider
