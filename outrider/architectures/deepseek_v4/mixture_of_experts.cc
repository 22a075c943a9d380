#include "outrider/architectures/deepseek_v4/block.h"

namespace outrider {
namespace {

ScoringFunction scoring_function(const ModelConfig& config) {
  if (config.scoring_func == "softmax") return ScoringFunction::kSoftmax;
  if (config.scoring_func == "sigmoid") return ScoringFunction::kSigmoid;
  return ScoringFunction::kSqrtSoftplus;
}

}  // namespace

void mixture_of_experts(const ForwardContext& context, const BlockWeights& weights, const Batch& batch) {
  const auto& [config, backend, a] = context;
  a.router.reshape(a.x.rows(), weights.experts.size());  // an MTP block may have a different number of experts
  backend.multiply(weights.gate, a.x, a.router, ProductKind::kFloat);
  const Routing routing{a.expert_ids, a.expert_weights};
  backend.route({.scoring = scoring_function(config),
                 .bias = weights.gate_bias,
                 .tid2eid = weights.tid2eid,
                 .scale = static_cast<float>(config.routed_scaling_factor)},
                batch.tokens, a.router, routing);
  backend.experts({.routed = weights.experts,
                   .shared = weights.shared_experts,
                   .swiglu_limit = static_cast<float>(config.swiglu_limit)},
                  routing, a.x, {a.expert_gate, a.expert_up, a.expert_out, a.shared_gate, a.shared_up, a.shared_out},
                  a.y);
}

}  // namespace outrider
