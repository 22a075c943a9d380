#include "outrider/cli/commands/repair_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "outrider/artifact/repair/repair.h"
#include "outrider/check/context.h"
#include "outrider/checkpoint/checkpoint_path.h"
#include "outrider/cli/terminal/flush_output.h"
#include "outrider/cli/terminal/progress_bar.h"
#include "outrider/files/staged_directory.h"
#include "outrider/util/bytes_text.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"
#include "outrider/util/thread_pool.h"

namespace outrider {
namespace {

struct RepairArguments {
  std::string directory;
  std::string output;
  std::string reference;
  std::vector<std::string> only;
  std::string alias_dtype = "f32";
  bool widen_head = false;
  bool in_place = false;
  bool partial = false;
  bool dry_run = false;
};

std::string findings_text(const CheckReport& report) {
  return fmt::format("{}, {}", count_text(report.count(Severity::kError), "error"),
                     count_text(report.count(Severity::kWarning), "warning"));
}

void print_plan(const RepairPlan& plan, const RepairArguments& arguments) {
  fmt::print("{}: {}\n", printable(arguments.directory, 4096), findings_text(*plan.before));
  for (const RepairAction& action : plan.actions) {
    const FindingKind& kind = finding_kind(action.code);
    fmt::print("\n  {} {}: {}{}\n", kind.code, kind.slug, printable(action.what, 600),
               action.bytes == 0 ? "" : fmt::format(" ({})", bytes_text(action.bytes)));
    constexpr std::size_t kShown = 6;
    for (std::size_t i = 0; i < std::min(kShown, action.tensors.size()); ++i) {
      const TensorPattern& pattern = action.tensors[i];
      fmt::print("      {}{}\n", printable(pattern.pattern),
                 pattern.count == 1 ? "" : fmt::format("  ({})", grouped(pattern.count)));
    }
    if (action.tensors.size() > kShown) fmt::print("      … and {} more patterns\n", action.tensors.size() - kShown);
  }
  if (!plan.actions.empty()) {
    fmt::print("\n  writes {} in {}; links unchanged: {}\n", bytes_text(plan.artifact.bytes_to_write()),
               count_text(plan.artifact.shards.size(), "file"), count_text(plan.artifact.kept.size(), "file"));
    for (const NewShard& shard : plan.artifact.shards) {
      fmt::print("      {}  {}, {}\n", printable(shard.name), count_text(shard.tensors.size(), "tensor"),
                 bytes_text(shard.bytes()));
    }
  }
  if (!plan.remaining.empty()) {
    fmt::print("\n  not repaired:\n");
    for (const RemainingFinding& left : plan.remaining) {
      fmt::print("      {} {}: {}\n", finding_kind(left.code).code, finding_kind(left.code).slug,
                 printable(left.why, 400));
    }
  }
}

int run_repair(RepairArguments& arguments) {
  if (arguments.output.empty() != arguments.in_place && !arguments.dry_run) {
    throw Error("Give the output directory with --output DIR, or use --in-place.");
  }
  RepairOptions options;
  options.only = repairable_codes(arguments.only);
  options.alias_in_float32 = arguments.alias_dtype == "f32";
  options.head_in_float32 = arguments.widen_head;
  options.partial = arguments.partial;
  ThreadPool pool(std::min(usable_processors(), 8U));
  options.pool = &pool;
  arguments.directory = checkpoint_path(arguments.directory).string();
  if (!arguments.reference.empty()) options.reference = checkpoint_path(arguments.reference);
  const RepairPlan plan = plan_repair(arguments.directory, options);
  print_plan(plan, arguments);
  if (plan.empty()) {
    fmt::print("\n  nothing to repair{}\n",
               arguments.output.empty() ? "" : fmt::format("; {} is not created", printable(arguments.output, 4096)));
    if (arguments.in_place && !arguments.dry_run && StagedDirectory::remove_leftover(arguments.directory)) {
      fmt::print("  removed the leftovers of an interrupted run\n");
    }
    return plan.before->exit_status();
  }
  if (plan.leaves_errors() && !arguments.partial) {
    fmt::print("\n  errors would remain, so nothing is written; --partial writes the artifact all the same\n");
    return std::max(plan.before->exit_status(), 1);
  }
  if (arguments.dry_run) return plan.leaves_errors() ? 1 : 0;
  flush_output();
  std::optional<std::filesystem::path> output;
  if (!arguments.output.empty()) output = arguments.output;
  ProgressBar bar("writing");
  const CheckReport made = carry_out(plan, arguments.directory, output,
                                     [&bar](std::uint64_t done, std::uint64_t total) { bar.show(done, total); });
  bar.clear();
  fmt::print("\n{}: {}\n", printable(output ? output->string() : arguments.directory, 4096), findings_text(made));
  return made.exit_status();
}

}  // namespace

void add_repair_command(CLI::App& app, int& status) {
  auto arguments = std::make_shared<RepairArguments>();
  CLI::App* command = app.add_subcommand("repair", "Repair what check finds, rewriting only what changes");
  command->footer(
      "Prints a plan (each repair, its finding and its size), builds the new artifact beside the old one, checks it,\n"
      "and replaces the old one atomically; until then nothing changes. Unchanged files are reflinked or hard linked.\n"
      "An interrupted run leaves a directory .NAME.outrider, which the next run removes. A repair that would leave\n"
      "errors is discarded, unless --partial is given. Unknown parts of the artifact are kept; existing values are\n"
      "never replaced by different ones of a reference.\n"
      "Exit status: that of check on the result; 2 the repair is impossible. See docs/repair.md.");
  command->add_option("DIR", arguments->directory, "Checkpoint directory")->required();
  auto* output =
      command->add_option("--output,-o", arguments->output, "Output directory; must not exist")->type_name("DIR");
  command->add_flag("--in-place", arguments->in_place, "Replace DIR with the repaired artifact")->excludes(output);
  command
      ->add_option("--reference", arguments->reference,
                   "Source checkpoint, to restore missing tensors and lost precision from")
      ->type_name("DIR");
  command->add_option("--only", arguments->only, "Repair only these findings (OUT050 or mtp-shares-head, …)")
      ->delimiter(',')
      ->type_name("CODES");
  command
      ->add_option("--alias-dtype", arguments->alias_dtype,
                   "Storage of the MTP blocks' own heads: f32, or keep (as head.weight)")
      ->check(CLI::IsMember({"f32", "keep"}))
      ->capture_default_str();
  command->add_flag("--widen-head", arguments->widen_head,
                    "Store head.weight in F32 too, as the repair published for vLLM issue 43456 does");
  command->add_flag("--partial", arguments->partial, "Write the result even if errors remain");
  command->add_flag("--dry-run", arguments->dry_run, "Print the plan and exit");
  command->callback([arguments, &status] { status = run_repair(*arguments); });
}

}  // namespace outrider
