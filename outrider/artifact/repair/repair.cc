#include "outrider/artifact/repair/repair.h"

#include <fmt/format.h>

#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {

CheckReport carry_out(const RepairPlan& plan, const std::filesystem::path& directory,
                      const std::optional<std::filesystem::path>& output, const WriteProgress& progress) {
  const std::string where = printable(directory.string(), 4096);
  const auto accept = [&](const CheckReport& made) {
    for (const Finding& finding : made.findings) {
      if (finding.kind().severity != Severity::kError) continue;
      if (!plan.before->has(finding.id) && !plan.after->has(finding.id)) {
        throw Error(fmt::format(
            "{}: the repaired artifact has an error that the original does not have, so it was discarded: {} {}. "
            "Please report this.",
            where, finding.kind().code, finding.message));
      }
      if (plan.partial) continue;
      throw Error(fmt::format(
          "{}: the repaired artifact still has an error, so it was discarded: {} {}. With --partial it is written all "
          "the same.",
          where, finding.kind().code, finding.message));
    }
  };
  return make_artifact(plan.artifact, plan.sources, directory, output, accept, progress);
}

}  // namespace outrider
