#include "outrider/architectures/deepseek_v4/activations.h"

#include <algorithm>

#include "outrider/util/saturating.h"

namespace outrider {

ModelSizes::ModelSizes(const ModelConfig& config, std::size_t experts)
    : D(config.hidden_size),
      hc(config.hc_mult),
      H(config.num_attention_heads),
      hd(config.head_dim),
      rd(config.qk_rope_head_dim),
      q_rank(config.q_lora_rank),
      o_rank(config.o_groups * config.o_lora_rank),
      iH(config.index_n_heads),
      id(iH == 0 ? 0 : config.index_head_dim),
      top_k(iH == 0 ? 0 : config.index_topk),
      entries(0),
      E(experts),
      K(config.num_experts_per_tok),
      width(config.moe_intermediate_size),
      s_width(config.n_shared_experts * width),
      targets(config.dspark ? config.dspark->target_layer_ids.size() : 0),
      hc_D(hc * D),
      hc_hc(hc * hc),
      H_hd(H * hd),
      iH_id(iH * id) {
  for (const LayerAttention& layer : config.layers) {
    if (layer.type != AttentionType::kCompressedSparse) continue;
    entries = std::max<std::size_t>(entries, config.max_position_embeddings / layer.compress_ratio);
  }
}

Activations::Activations(const ModelConfig& config, std::size_t experts, bool drafts)
    : ModelSizes(config, experts), mtp_(drafts ? 1 : 0) {}

void Activations::reshape(const PassSize& pass) {
  const auto shape = [&](auto& buffers) {
    for (auto& b : buffers) b.values.reshape(b.rows * count(b.per, pass), b.cols);
  };
  shape(floats_);
  shape(indices_);
}

std::uint64_t Activations::bytes(const PassSize& pass) const {
  std::uint64_t bytes = 0;
  const auto add = [&](const auto& buffers) {
    for (const auto& b : buffers) {
      bytes = saturating_add(bytes, saturating_multiply(count(b.per, pass), b.values.bytes(b.rows, b.cols)));
    }
  };
  add(floats_);
  add(indices_);
  return bytes;
}

std::uint64_t Activations::allocated_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& b : floats_) bytes += b.values.allocated_bytes();
  for (const auto& b : indices_) bytes += b.values.allocated_bytes();
  return bytes;
}

// Weights of three storage forms may need the same input in three layouts; a routed expert's gate and up in two.
std::uint64_t Activations::product_inputs(const PassSize& pass) const {
  const std::uint64_t a_token = std::max({
      3 * token_step(D) + 2 * K * token_step(D),            // experts: gate and up
      3 * K * token_step(width) + token_step(s_width),      // experts: down
      token_step(H_hd) + H * kLanes,                        // wo_a, by group
      token_step(o_rank),                                   // wo_b
      3 * token_step(q_rank),                               // wq_b of attention and of the indexer
      token_step(targets * D),                              // main_proj of a DSpark drafter
      std::max(token_step(hc_D), (1 + hc) * token_step(D))  // mHC; e_proj and h_proj of an MTP block
  });
  const std::uint64_t a_row_of_logits = std::max(token_step(hc_D), token_step(D));
  return std::max(saturating_multiply(pass.tokens, a_token), saturating_multiply(pass.logits, a_row_of_logits));
}

}  // namespace outrider
