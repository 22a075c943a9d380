#pragma once

#include <string>
#include <vector>

#include "outrider/check/check.h"

namespace outrider {

// Why the model may reject its MTP block's drafts, as far as the report shows: the findings that lower acceptance, most
// likely first, one sentence each that begins with the code. If there are none, one sentence says what that means. The
// more the check has read (drafter_data), the more it finds.
std::vector<std::string> acceptance_causes(const CheckReport& report);

}  // namespace outrider
