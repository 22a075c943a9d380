#include "outrider/binding/open_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "outrider/binding/foreign_format.h"
#include "outrider/binding/unread_files.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

constexpr std::string_view kRunsWithoutDrafter =
    "\nThe model itself is complete: --no-speculation runs it without its drafter.";

}  // namespace

bool lacks_only_its_drafter(const BindingReport& report) {
  return !report.faults.empty() && std::ranges::all_of(report.faults, [&](const BindingFault& fault) {
    const BlockKind kind = (*report.manifest)[fault.parameter].block.kind;
    return kind == BlockKind::kMtp || kind == BlockKind::kDspark;
  });
}

std::shared_ptr<const CompletePlan> open_plan(const std::filesystem::path& path, DrafterLoading drafter) {
  auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(path));
  const std::string where = path.string();
  checkpoint->required_config_json();
  const bool skip = drafter == DrafterLoading::kSkip;
  ModelReading read = read_model(*checkpoint);
  const auto refuse_foreign = [&](const BindingReport* binding) {
    const auto foreign = recognise_foreign_format(*checkpoint, read.config, binding);
    if (!foreign) return;
    const bool model_alone = binding != nullptr && !skip &&
                             std::holds_alternative<CompletePlan>(
                                 bind(checkpoint, manifest_for(read.config.config, DrafterScan{}, read.experts)));
    throw Error(fmt::format("{}: {} {}{}", where, foreign->sentence(), kForeignFormatRemedy,
                            model_alone ? kRunsWithoutDrafter : ""));
  };
  std::vector<ConfigIssue> issues = read.config.issues;
  if (skip) std::erase_if(issues, [](const ConfigIssue& issue) { return issue.of_drafter; });
  if (!issues.empty()) {
    if (!read.config.unsupported()) refuse_foreign(nullptr);
    std::string message = fmt::format("{}: config.json is invalid:", where);
    for (const ConfigIssue& issue : issues) message += fmt::format("\n  {}: {}", issue.field, issue.message);
    const bool drafter_only =
        std::all_of(issues.begin(), issues.end(), [](const ConfigIssue& issue) { return issue.of_drafter; });
    throw Error(message.append(drafter_only ? kRunsWithoutDrafter : ""));
  }
  const ModelConfig& config = read.config.config;
  const DrafterScan scan = skip ? DrafterScan{} : scan_drafter(*checkpoint, config.num_hidden_layers);
  BindResult result =
      bind(checkpoint, manifest_for(config, scan, read.experts), calling_thread(), std::move(read.parsed));
  auto* plan = std::get_if<CompletePlan>(&result);
  refuse_foreign(plan != nullptr ? &plan->report() : std::get_if<BindingReport>(&result));
  if (plan != nullptr) {
    return std::make_shared<const CompletePlan>(std::move(*plan));
  }
  const auto& report = std::get<BindingReport>(result);
  throw Error(fmt::format(
      "{}: the checkpoint is incomplete, so it cannot be run:{}\nRun `outrider check` for details.{}", where,
      report.names_only ? "\n  none of the files in its index is present. Download them." : incomplete_text(report),
      lacks_only_its_drafter(report) ? kRunsWithoutDrafter : ""));
}

}  // namespace outrider
