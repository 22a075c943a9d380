#pragma once

#include <filesystem>
#include <memory>

#include "outrider/binding/plan.h"

namespace outrider {

// kSkip: loads only the model, whatever the state of its drafter; the drafter's tensors are unused.
enum class DrafterLoading { kLoad, kSkip };

// Whether everything that is missing belongs to the drafter.
bool lacks_only_its_drafter(const BindingReport& report);

// Reads a checkpoint and proves it complete. Otherwise throws Error: the message lists what is missing or wrong in
// config.json, missing and unreadable files, other faults of tensors by name patterns, and whether the model would run
// without its drafter.
std::shared_ptr<const CompletePlan> open_plan(const std::filesystem::path& path,
                                              DrafterLoading drafter = DrafterLoading::kLoad);

}  // namespace outrider
