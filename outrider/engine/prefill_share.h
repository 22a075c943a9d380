#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace outrider {

// Divides the tokens that a step has for prompts. `left[i]`: the tokens left of the prompts, in the order in which
// their requests arrived. The first gets a quarter at least, so that none waits forever; the rest goes to the shortest
// ones, so that a short prompt never waits for long ones.
std::vector<std::size_t> share_prefill(std::size_t budget, std::span<const std::size_t> left);

}  // namespace outrider
