#include "outrider/cli/commands/quantize_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>

#include "outrider/artifact/quantize/quantize.h"
#include "outrider/check/context.h"
#include "outrider/checkpoint/checkpoint_path.h"
#include "outrider/cli/options/shard_size_option.h"
#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/util/printable.h"
#include "outrider/util/thread_pool.h"

namespace outrider {
namespace {

struct QuantizeArguments {
  std::string source;
  std::string output;
  std::string recipe;
  std::string alias_dtype = "f32";
  std::uint64_t max_shard_size = 5'000'000'000;
  unsigned threads = std::min(usable_processors(), 256U);
  bool mtp = false;
  bool no_aliases = false;
};

int run_quantize(const QuantizeArguments& arguments) {
  QuantizeOptions options;
  options.recipe = read_recipe(arguments.recipe);
  options.recipe.quantise_mtp = options.recipe.quantise_mtp || arguments.mtp;
  options.recipe.aliases = options.recipe.aliases && !arguments.no_aliases;
  options.recipe.alias_in_float32 = arguments.alias_dtype == "f32";
  options.max_shard_bytes = arguments.max_shard_size;
  options.threads = arguments.threads;
  ProgressBar bar("quantising");
  const QuantizeResult result = quantize(checkpoint_path(arguments.source), arguments.output, options,
                                         [&bar](std::uint64_t done, std::uint64_t total) { bar.show(done, total); });
  bar.clear();
  if (result.resumed) fmt::print("resumed an interrupted run\n");
  fmt::print("{:28} {:12} {:>8} {:>12} {:>12}\n", "", "form", "weights", "mean error", "max. error");
  for (const GroupError& e : result.errors) {
    fmt::print("{:28} {:12} {:>8} {:>11.3f}% {:>11.3f}%  {}\n",
               fmt::format("{}{}", e.drafter ? "MTP " : "", module_group_name(e.group)), e.form, grouped(e.weights),
               100 * e.mean, 100 * e.worst, e.worst_name);
  }
  fmt::print("{}: {}, {}; the error of each weight is in {}\n", printable(arguments.output, 4096),
             count_text(result.report.count(Severity::kError), "error"),
             count_text(result.report.count(Severity::kWarning), "warning"), kErrorFileName);
  return result.report.exit_status();
}

}  // namespace

void add_quantize_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<QuantizeArguments>();
  CLI::App* command = app.add_subcommand("quantize", "Quantize a checkpoint's weights to other storage forms");
  command->footer(
      "Rounds to nearest, with the scale of each group that minimizes the error. Errors are relative: the root of the\n"
      "squared errors over the squared values. An interrupted run is resumed when the command is repeated. See\n"
      "docs/quantize.md.");
  command->add_option("SRC", arguments->source, "Directory of a complete checkpoint, in any storage form")->required();
  command->add_option("--recipe", arguments->recipe, "Recipe: w4a16-fp8, nvfp4-fp8, mxfp4-fp8, fp8, bf16, or a file")
      ->required();
  command->add_option("--output,-o", arguments->output, "Output directory; must not exist")
      ->type_name("DIR")
      ->required();
  command->add_flag("--mtp", arguments->mtp, "Quantize MTP blocks like the layers; otherwise they are stored in BF16");
  command->add_flag("--no-aliases", arguments->no_aliases, "Store no own head and embedding for MTP blocks");
  command
      ->add_option("--alias-dtype", arguments->alias_dtype,
                   "Storage of the MTP blocks' own heads: f32, or keep (as head.weight)")
      ->check(CLI::IsMember({"f32", "keep"}))
      ->capture_default_str();
  add_max_shard_size_option(*command, arguments->max_shard_size);
  command->add_option("--threads", arguments->threads, "Number of threads; default: all of the machine's")
      ->check(CLI::Range(1, 256));
  command->callback([arguments, &status] { status = run_quantize(*arguments); });
}

}  // namespace outrider
