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
#include "outrider/util/parallel.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

struct Arguments {
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

std::set<Code> codes(const std::vector<std::string>& names) {
  std::set<Code> out;
  for (const std::string& name : names) {
    const auto kinds = finding_kinds();
    const auto it = std::find_if(kinds.begin(), kinds.end(),
                                 [&](const FindingKind& k) { return k.code == name || k.slug == name; });
    if (it == kinds.end()) {
      throw Error(fmt::format("--only {}: no finding is called that. docs/findings/README.md lists them all.",
                              printable(name)));
    }
    if (!is_repairable(it->id)) {
      throw Error(
          fmt::format("--only {}: repair has no remedy for {}. What helps: {}", printable(name), it->slug, it->remedy));
    }
    out.insert(it->id);
  }
  return out;
}

std::string findings_text(const CheckReport& report) {
  return fmt::format("{}, {}", count_text(report.count(Severity::kError), "error"),
                     count_text(report.count(Severity::kWarning), "warning"));
}

void print_plan(const RepairPlan& plan, const Arguments& arguments) {
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
    fmt::print("\n  to write: {} in {}; linked as they are: {}\n", bytes_text(plan.artifact.bytes_to_write()),
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

int run(Arguments& arguments) {
  if (arguments.output.empty() != arguments.in_place && !arguments.dry_run) {
    throw Error("say where the repaired artifact goes: --output DIR, or --in-place.");
  }
  RepairOptions options;
  options.only = codes(arguments.only);
  options.alias_in_float32 = arguments.alias_dtype == "f32";
  options.head_in_float32 = arguments.widen_head;
  options.partial = arguments.partial;
  options.threads = std::min(usable_processors(), 8U);
  arguments.directory = checkpoint_path(arguments.directory).string();
  if (!arguments.reference.empty()) options.reference = checkpoint_path(arguments.reference);
  const RepairPlan plan = plan_repair(arguments.directory, options);
  print_plan(plan, arguments);
  if (plan.empty()) {
    fmt::print("\n  nothing to repair{}\n",
               arguments.output.empty() ? "" : fmt::format("; {} is not made", printable(arguments.output, 4096)));
    if (arguments.in_place && !arguments.dry_run && StagedDirectory::remove_leftover(arguments.directory)) {
      fmt::print("  removed what an interrupted run left beside it\n");
    }
    return plan.before->exit_status();
  }
  if (plan.leaves_errors() && !arguments.partial) {
    fmt::print("\n  errors would stay, so nothing is put in place; with --partial it is, errors and all\n");
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
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("repair", "Repair what check finds, without writing more than changes");
  command->footer(
      "Prints a plan: what, for which finding, how many bytes. Then makes the new artifact beside its place, checks "
      "it\n"
      "there, and puts it in its place in one step; until then nothing changes. Files that stay as they are are\n"
      "reflinked or hard linked. An interrupted run leaves a directory .NAME.outrider, which the next one removes.\n"
      "A repair that would leave errors is not put in place without --partial. What the artifact holds and Outrider\n"
      "does not understand stays as it is; values that it has are never replaced by other ones of a reference.\n"
      "Exit status: that of check on what is there afterwards; 2 where nothing could be done. See docs/repair.md.");
  command->add_option("DIR", arguments->directory, "Directory of the checkpoint")->required();
  auto* output =
      command->add_option("--output,-o", arguments->output, "Directory for the repaired artifact; must not exist")
          ->type_name("DIR");
  command->add_flag("--in-place", arguments->in_place, "Replace DIR by the repaired artifact")->excludes(output);
  command
      ->add_option("--reference", arguments->reference,
                   "The checkpoint it was made of: what is lacking or lost precision is taken from there")
      ->type_name("DIR");
  command->add_option("--only", arguments->only, "Repair these findings alone (OUT050 or mtp-shares-head, …)")
      ->delimiter(',')
      ->type_name("CODES");
  command
      ->add_option("--alias-dtype", arguments->alias_dtype,
                   "The MTP blocks' own heads: f32, or keep as head.weight is stored")
      ->check(CLI::IsMember({"f32", "keep"}))
      ->capture_default_str();
  command->add_flag("--widen-head", arguments->widen_head,
                    "Store head.weight itself in F32 too, as the repair published for vLLM issue 43456 does");
  command->add_flag("--partial", arguments->partial, "Put the result in place although errors stay");
  command->add_flag("--dry-run", arguments->dry_run, "Print the plan and stop");
  command->callback([arguments, &status] { status = run(*arguments); });
}

}  // namespace outrider
