#pragma once

#include <span>
#include <utility>

#include "outrider/check/context.h"

namespace outrider {

// Compares values of our parameters with the reference's, in any storage form, and tells what differs, by how much, and
// where the reference's values stand in another place. Parameters of other forms are compared as far as rounding goes.
void compare_values_with(CheckContext& context, const BindingReport& reference,
                         std::span<const std::pair<ParameterId, ParameterId>> ours_and_theirs);

}  // namespace outrider
