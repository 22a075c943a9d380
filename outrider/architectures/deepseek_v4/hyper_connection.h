#pragma once

#include <cstddef>
#include <span>

#include "outrider/architectures/deepseek_v4/model_weights.h"
#include "outrider/backend/cpu/multiply.h"

namespace outrider {

// Manifold-constrained hyper-connections: the residual stream is hc streams, mixed into one before a sublayer and
// spread over all after it.

// How a token's streams are mixed, by row.
struct Mixing {
  Rows post;  // [rows, hc]
  Rows comb;  // [rows, hc*hc], from stream j to stream k at j*hc + k
};

// Makes a matrix of positive values nearly doubly stochastic: softmax of each row, then columns and rows divided by
// their sums in turn, `iterations` times columns. In place, [hc, hc].
void sinkhorn(std::span<float> comb, std::size_t hc, std::uint64_t iterations, float eps);

// streams [rows, hc*D] -> a sublayer's input [rows, D], and how its output is to be spread.
Rows hc_pre(const Compute& compute, const ModelConfig& config, const HyperConnectionWeights& weights,
            const Rows& streams, Mixing& mixing);

// streams := post * x + comb^T streams
void hc_post(const Compute& compute, const ModelConfig& config, const Rows& x, const Mixing& mixing, Rows& streams);

// streams [rows, hc*D] -> the head's input [rows, D].
Rows hc_head(const Compute& compute, const ModelConfig& config, const HyperConnectionWeights& weights,
             const Rows& streams);

}  // namespace outrider
