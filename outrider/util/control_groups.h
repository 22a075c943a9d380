#pragma once

#include <string>
#include <vector>

namespace outrider {

// Directories of the control groups (version 2) that this process belongs to, from its own up; any of them may set a
// limit. Empty where there are none.
std::vector<std::string> control_groups();

}  // namespace outrider
