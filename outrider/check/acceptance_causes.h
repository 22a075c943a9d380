#pragma once

#include <string>
#include <vector>

#include "outrider/check/check.h"

namespace outrider {

// Why the model may reject what its MTP block drafts, as far as a checkpoint shows it: the findings that lower
// acceptance, the likeliest first, one sentence each that begins with the code. Where there are none, one sentence says
// what that means. The more the check read (drafter_data), the more it knows.
std::vector<std::string> acceptance_causes(const CheckReport& report);

}  // namespace outrider
