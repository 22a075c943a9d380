#include "outrider/cli/commands/bench_command.h"

namespace outrider {

void add_bench_command(CLI::App& app, int& status) {
  CLI::App* command =
      app.add_subcommand("bench", "Benchmark a server, a model in this process, or this machine's kernels");
  command->require_subcommand(1);
  add_bench_serve_command(*command, status);
  add_bench_latency_command(*command, status);
  add_bench_kernels_command(*command, status);
}

}  // namespace outrider
