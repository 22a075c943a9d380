#pragma once

#include <filesystem>
#include <memory>

#include "outrider/binding/plan.h"

namespace outrider {

// kSkip: the model alone, whatever state its drafter is in; the drafter's tensors are unused.
enum class DrafterLoading { kLoad, kSkip };

// Whether all that keeps a checkpoint from being complete is of its MTP blocks.
bool lacks_only_its_drafter(const BindingReport& report);

// Reads a checkpoint and proves it complete. Throws Error where it is not: the message lists what is missing or wrong
// in config.json, files that are not there or cannot be read, and what else is wrong among the tensors, by patterns of
// names; and whether the model would run without its drafter.
std::shared_ptr<const CompletePlan> open_plan(const std::filesystem::path& path,
                                              DrafterLoading drafter = DrafterLoading::kLoad);

}  // namespace outrider
