#pragma once

#include <span>
#include <utility>

#include "outrider/check/context.h"

namespace outrider {

// Compares the values of our parameters with the reference's, in any storage form, and reports what differs, by how
// much, and where values are misplaced. Parameters in different forms are compared up to rounding.
void compare_values_with(CheckContext& context, const BindingReport& reference,
                         std::span<const std::pair<ParameterId, ParameterId>> ours_and_theirs);

}  // namespace outrider
