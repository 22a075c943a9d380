#pragma once

#include "outrider/architectures/deepseek_v4/activations.h"
#include "outrider/architectures/deepseek_v4/model_weights.h"
#include "outrider/backend/backend.h"

namespace outrider {

// State shared by all parts of a forward pass.
struct ForwardContext {
  const ModelConfig& config;
  Backend& backend;
  Activations& activations;
};

// How a layer rotates positions.
struct LayerRope {
  const Rope& rope;     // for any position
  const Rows& cos_sin;  // by row of the batch
};

// How the rows of a chunk see each other.
enum class Visibility {
  kCausal,
  kWholeChunk,  // see Attention::bidirectional; the keys are not stored
};

// The keys of a window layer, a.kv, normalised, rotated and rounded. a.kv: output of wkv.
void finish_keys(const ForwardContext& context, const BlockWeights& weights, const LayerRope& rope);

// The parts of a block: each computes activations.y from activations.x.
void attention(const ForwardContext& context, const BlockWeights& weights, const Batch& batch, const LayerRope& rope,
               Visibility visibility = Visibility::kCausal);
void mixture_of_experts(const ForwardContext& context, const BlockWeights& weights, const Batch& batch);

// A whole block: streams h [n, hc*D] in and out.
void run_block(const ForwardContext& context, const BlockWeights& weights, const Batch& batch, const LayerRope& rope,
               Rows& h, Visibility visibility = Visibility::kCausal);

HyperConnection hyper_connection(const ModelConfig& config, const HyperConnectionWeights& weights);

}  // namespace outrider
