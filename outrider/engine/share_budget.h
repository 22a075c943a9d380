#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace outrider {

// Splits `budget` evenly among consumers that want `wanted[i]` each; what one does not need goes to the others. An
// indivisible remainder is handed out one by one, starting with consumer `first`.
std::vector<std::size_t> share_budget(std::size_t budget, std::span<const std::size_t> wanted, std::size_t first);

}  // namespace outrider
