#include "outrider/architectures/deepseek_v4/block.h"

namespace outrider {

HyperConnection hyper_connection(const ModelConfig& config, const HyperConnectionWeights& weights) {
  return {.fn = weights.fn,
          .base = weights.base,
          .scale = weights.scale,
          .streams = config.hc_mult,
          .sinkhorn_iterations = config.hc_sinkhorn_iters,
          .eps = static_cast<float>(config.hc_eps),
          .norm_eps = static_cast<float>(config.rms_norm_eps)};
}

void run_block(const ForwardContext& context, const BlockWeights& weights, const Batch& batch, const LayerRope& rope,
               Rows& h, Visibility visibility) {
  const auto& [config, backend, a] = context;
  const auto eps = static_cast<float>(config.rms_norm_eps);

  backend.hc_pre(hyper_connection(config, weights.hc_attn), h, a.hc_scores, a.post, a.comb, a.x);
  backend.rms_norm(weights.attn_norm, eps, a.x);
  attention(context, weights, batch, rope, visibility);
  backend.hc_post(a.y, a.post, a.comb, h);

  backend.hc_pre(hyper_connection(config, weights.hc_ffn), h, a.hc_scores, a.post, a.comb, a.x);
  backend.rms_norm(weights.ffn_norm, eps, a.x);
  mixture_of_experts(context, weights, batch);
  backend.hc_post(a.y, a.post, a.comb, h);
}

}  // namespace outrider
