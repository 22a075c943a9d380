#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace outrider {

// Makes a matrix of positive values nearly doubly stochastic: softmax of each row, then division of columns and rows by
// their sums in turn, `iterations` times for columns. In place, [hc, hc].
void sinkhorn(std::span<float> comb, std::size_t hc, std::uint64_t iterations, float eps);

}  // namespace outrider
