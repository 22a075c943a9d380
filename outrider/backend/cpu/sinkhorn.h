#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace outrider {

// Makes a matrix of positive values nearly doubly stochastic: softmax of each row, then columns and rows divided by
// their sums in turn, `iterations` times columns. In place, [hc, hc].
void sinkhorn(std::span<float> comb, std::size_t hc, std::uint64_t iterations, float eps);

}  // namespace outrider
