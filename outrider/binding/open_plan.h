#pragma once

#include <filesystem>
#include <memory>

#include "outrider/binding/plan.h"

namespace outrider {

// Reads a checkpoint and proves it complete. Throws Error, whose message lists everything that is missing or wrong in
// config.json and among the tensors, where it is not.
std::shared_ptr<const CompletePlan> open_plan(const std::filesystem::path& path, unsigned threads = 2);

}  // namespace outrider
