#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace outrider {

// Positions of the `count` highest scores (all, where there are fewer), highest first; of equal scores the lower
// position first. NaN ranks below everything, so that faulty weights cannot upset the order.
std::vector<std::uint32_t> top_k(std::span<const float> scores, std::size_t count);

}  // namespace outrider
