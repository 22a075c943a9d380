#include <fmt/format.h>

#include <memory>
#include <string>

#include "outrider/benchmark/kernel_benchmark.h"
#include "outrider/cli/commands/bench_command.h"
#include "outrider/cli/options/model_options.h"
#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/cli/terminal/write_json.h"
#include "outrider/util/thread_pool.h"

namespace outrider {
namespace {

struct BenchKernelsArguments {
  KernelBenchmarkOptions benchmark;
  double gib = 1;
  std::string mode = "official";
  std::string output_json;
  bool quiet = false;
};

int run_bench_kernels(BenchKernelsArguments& arguments) {
  KernelBenchmarkOptions& options = arguments.benchmark;
  options.bytes = static_cast<std::uint64_t>(arguments.gib * 0x1p30);
  options.mode = numeric_mode(arguments.mode);
  ProgressBar bar("measuring", ProgressUnit::kItems);
  const auto results = run_kernel_benchmark(options, [&](std::size_t done, std::size_t total) {
    if (!arguments.quiet) bar.show(done, total);
  });
  bar.clear();
  fmt::print(
      "[2048, 4096] matrices, {:g} GiB of each form, best of {}. read: GB/s of a plain read of the same memory; peak: "
      "\n"
      "billions of multiply-adds per second in registers. By number of tokens: GB/s of weights, % of read, % of "
      "peak.\n\n",
      arguments.gib, options.repetitions);
  fmt::print("{}", kernel_report_text(results));
  if (!arguments.output_json.empty()) write_json(arguments.output_json, kernel_report_json(results), false);
  return 0;
}

}  // namespace

void add_bench_kernels_command(CLI::App& bench, int& status) {
  auto arguments = std::make_shared<BenchKernelsArguments>();
  KernelBenchmarkOptions& options = arguments->benchmark;
  options.tokens = {1, 2, 4, 8, 64};
  options.threads = {1};
  if (usable_processors() > 1) options.threads.push_back(usable_processors());
  CLI::App* command = bench.add_subcommand("kernels", "Benchmark products of weights, without a model");
  command->footer(
      "Multiplies weights of each storage form, more than any cache holds, with a few tokens (decoding, verification "
      "of\n"
      "drafts) and with many (prompts), beside the limits of the machine: the memory and the multiply-adds. See\n"
      "docs/bench.md. Exit status: 0; 2 an option cannot be satisfied.");
  command->add_option("--form", options.forms, "Storage forms, separated by commas; default: all")
      ->delimiter(',')
      ->check(CLI::IsMember(kernel_benchmark_forms()));
  command
      ->add_option("--kernels", options.kernels, "Kernels (avx2, avx512, avx512bf16, scalar); default: all but scalar")
      ->delimiter(',');
  command->add_option("--tokens", options.tokens, "Numbers of tokens, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(std::size_t{1}, std::size_t{4096}))
      ->capture_default_str();
  command->add_option("--threads", options.threads, "Numbers of threads, separated by commas")
      ->delimiter(',')
      ->check(CLI::Range(1U, 1024U))
      ->capture_default_str();
  add_mode_option(*command, arguments->mode);
  command->add_option("--gib", arguments->gib, "Size of the weights of each form, in GiB")
      ->check(CLI::Range(0.05, 1024.0))
      ->capture_default_str();
  command->add_option("--repetitions", options.repetitions, "Number of repetitions; the fastest counts")
      ->check(CLI::Range(1U, 1000U))
      ->capture_default_str();
  command->add_option("--output-json", arguments->output_json, "Write the results to this JSON file")
      ->type_name("FILE");
  command->add_flag("--disable-tqdm", arguments->quiet, "Disable the progress bar");
  command->callback([arguments, &status] { status = run_bench_kernels(*arguments); });
}

}  // namespace outrider
