#include "outrider/cli/commands/convert_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "outrider/artifact/convert/convert.h"
#include "outrider/check/context.h"
#include "outrider/checkpoint/checkpoint_path.h"
#include "outrider/cli/options/shard_size_option.h"
#include "outrider/cli/terminal/flush_output.h"
#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/util/bytes_text.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

struct ConvertArguments {
  std::string directory;
  std::string output;
  std::string to;
  std::uint64_t max_shard_size = 5'000'000'000;
};

int run_convert(ConvertArguments& arguments) {
  ConvertOptions options;
  options.to = arguments.to == "official" ? Dialect::kOfficial : Dialect::kHuggingFace;
  options.max_shard_bytes = arguments.max_shard_size;
  arguments.directory = checkpoint_path(arguments.directory).string();
  const ConvertPlan plan = plan_convert(arguments.directory, options);
  fmt::print("{}: {}\n  {} renamed, {} stacked or unstacked; writes {} in {}\n", printable(arguments.directory, 4096),
             plan.before->dialect, count_text(plan.renamed, "tensor"), grouped(plan.restacked),
             bytes_text(plan.artifact.bytes_to_write()), count_text(plan.artifact.shards.size(), "file"));
  flush_output();
  ProgressBar bar("converting");
  const CheckReport made = convert(plan, arguments.directory, arguments.output,
                                   [&bar](std::uint64_t done, std::uint64_t total) { bar.show(done, total); });
  bar.clear();
  fmt::print("{}: {}\n", printable(arguments.output, 4096), made.dialect);
  return made.exit_status();
}

}  // namespace

void add_convert_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = app.add_subcommand("convert", "Convert a checkpoint to the tensor names of another dialect");
  command->footer(
      "official: layers.3.ffn.experts.17.w1.weight. huggingface: the names of transformers' DeepseekV4ForCausalLM,\n"
      "with stacked experts. Values are copied byte for byte; config.json is converted too. See docs/repair.md.");
  command->add_option("DIR", arguments->directory, "Directory of a complete checkpoint")->required();
  command->add_option("--to", arguments->to, "Target dialect")
      ->check(CLI::IsMember({"official", "huggingface"}))
      ->required();
  command->add_option("--output,-o", arguments->output, "Output directory; must not exist")
      ->type_name("DIR")
      ->required();
  add_max_shard_size_option(*command, arguments->max_shard_size);
  command->callback([arguments, &status] { status = run_convert(*arguments); });
}

}  // namespace outrider
