#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "outrider/binding/plan.h"

namespace outrider {

// Parameters of one module group that are stored the same way in every respect.
struct StorageClass {
  std::uint64_t signature = 0;
  std::vector<ParameterId> members;
};
// By drafter or not, and module group.
using StorageClasses = std::array<std::array<std::vector<StorageClass>, kModuleGroupCount>, 2>;

// Reads only the binding, so that it can run in parallel with other checks.
StorageClasses classify_storage(const BindingReport& binding);

}  // namespace outrider
