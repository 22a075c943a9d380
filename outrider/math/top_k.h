#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace outrider {

// Positions of the `count` highest scores (of all scores if there are fewer), in descending order of score; equal
// scores in order of position. NaN ranks last, so that faulty weights cannot break the order.
std::vector<std::uint32_t> top_k(std::span<const float> scores, std::size_t count);

}  // namespace outrider
