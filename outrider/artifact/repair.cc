#include "outrider/artifact/repair.h"

#include <fmt/format.h>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {

CheckReport carry_out(const RepairPlan& plan, const std::filesystem::path& directory,
                      const std::optional<std::filesystem::path>& output, const WriteProgress& progress) {
  const auto accept = [&](const CheckReport& made) {
    for (const Finding& finding : made.findings) {
      if (finding.kind().severity != Severity::kError || plan.before->has(finding.id) || plan.after->has(finding.id))
        continue;
      throw Error(
          fmt::format("{}: the repaired artifact has an error that it did not have: {} {}. Nothing was put in "
                      "place; please report this.",
                      printable(directory.string(), 4096), finding.kind().code, finding.message));
    }
  };
  return make_artifact(plan.artifact, plan.sources, directory, output, accept, progress);
}

}  // namespace outrider
