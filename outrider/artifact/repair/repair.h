#pragma once

#include <filesystem>
#include <optional>

#include "outrider/artifact/repair/repair_plan.h"

namespace outrider {

// Carries out a plan: writes the artifact to a temporary directory, checks it, and moves it to its destination
// atomically: `output`, or `directory` itself if there is none. At every instant the destination has either all old
// files or all new ones. Returns the new artifact's report. Throws Error, leaving the destination unchanged: no space,
// no permission, a source that changed meanwhile, a result that is worse than the original or, unless plan.partial,
// still has an error.
CheckReport carry_out(const RepairPlan& plan, const std::filesystem::path& directory,
                      const std::optional<std::filesystem::path>& output, const WriteProgress& progress = {});

}  // namespace outrider
