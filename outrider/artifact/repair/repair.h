#pragma once

#include <filesystem>
#include <optional>

#include "outrider/artifact/repair/repair_plan.h"

namespace outrider {

// Makes what the plan says, beside its place, checks it there, and puts it in its place in one step: `output`, or that
// of `directory` itself where there is none. At every instant the place holds all of the old, or all of the new.
// Returns what check says of the new artifact. Throws Error, and then the place is as it was: no space, no permission,
// a source that changed meanwhile, an artifact that turns out worse than it was, or, unless plan.partial, that still
// has an error.
CheckReport carry_out(const RepairPlan& plan, const std::filesystem::path& directory,
                      const std::optional<std::filesystem::path>& output, const WriteProgress& progress = {});

}  // namespace outrider
