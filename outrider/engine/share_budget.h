#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace outrider {

// Splits `budget` among those who want some of it: evenly, what one does not need going to the others. What does not
// divide goes to one each, from `first` on.
std::vector<std::size_t> share_budget(std::size_t budget, std::span<const std::size_t> wanted, std::size_t first);

}  // namespace outrider
