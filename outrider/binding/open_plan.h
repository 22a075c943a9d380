#pragma once

#include <filesystem>
#include <memory>

#include "outrider/binding/plan.h"

namespace outrider {

// kSkip: the model alone, whatever state its drafter is in; the drafter's tensors are unused.
enum class DrafterLoading { kLoad, kSkip };

// Whether all that keeps a checkpoint from being complete is of its MTP blocks.
bool lacks_only_its_drafter(const BindingReport& report);

// The proof that the checkpoint at `path` is complete, for what runs it. Throws Error, which lists all that is lacking
// and says whether the model would run without its drafter.
std::shared_ptr<const CompletePlan> open_plan(const std::filesystem::path& path,
                                              DrafterLoading drafter = DrafterLoading::kLoad);

}  // namespace outrider
