#pragma once

#include <cstddef>
#include <span>

#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/architectures/deepseek_v4/narrow_head.h"

namespace outrider {

// Logits [rows.size(), V] of the given rows of the streams h [n, hc*D]: W_head rmsnorm(hc_head(h)). The context's
// activations must be shaped for that number of logit rows. `narrow`: a copy of the head to use instead, or null. `y`:
// receives hc_head(h) [rows.size(), D], or null.
Rows output_logits(const ForwardContext& context, const Rows& h, std::span<const std::size_t> rows,
                   const HyperConnectionWeights& hc_head, std::span<const float> norm, const Linear& head,
                   const NarrowHead* narrow = nullptr, Rows* y = nullptr);

}  // namespace outrider
