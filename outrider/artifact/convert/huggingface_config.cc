#include "outrider/artifact/convert/huggingface_config.h"

namespace outrider {

nlohmann::ordered_json huggingface_config(const ConfigReading& reading) {
  using nlohmann::ordered_json;
  const ModelConfig& c = reading.config;
  ordered_json ratios = ordered_json::array();
  for (const LayerAttention& layer : c.layers) ratios.push_back(layer.compress_ratio);
  for (const LayerAttention& layer : c.drafter_layers) ratios.push_back(layer.compress_ratio);
  ordered_json out = {{"architectures", {"DeepseekV4ForCausalLM"}},
                      {"model_type", "deepseek_v4"},
                      {"attention_bias", false},
                      {"compress_ratios", ratios},
                      {"compress_rope_theta", c.compress_rope_theta},
                      {"hc_eps", c.hc_eps},
                      {"hc_mult", c.hc_mult},
                      {"hc_sinkhorn_iters", c.hc_sinkhorn_iters},
                      {"head_dim", c.head_dim},
                      {"hidden_act", "silu"},
                      {"hidden_size", c.hidden_size},
                      {"index_head_dim", c.index_head_dim},
                      {"index_n_heads", c.index_n_heads},
                      {"index_topk", c.index_topk},
                      {"max_position_embeddings", c.max_position_embeddings},
                      {"moe_intermediate_size", c.moe_intermediate_size},
                      {"n_routed_experts", c.n_routed_experts},
                      {"n_shared_experts", c.n_shared_experts},
                      {"norm_topk_prob", c.norm_topk_prob},
                      {"num_attention_heads", c.num_attention_heads},
                      {"num_experts_per_tok", c.num_experts_per_tok},
                      {"num_hash_layers", c.num_hash_layers().value_or(0)},
                      {"num_hidden_layers", c.num_hidden_layers},
                      {"num_key_value_heads", 1},
                      {"num_nextn_predict_layers", c.num_nextn_predict_layers},
                      {"o_groups", c.o_groups},
                      {"o_lora_rank", c.o_lora_rank},
                      {"q_lora_rank", c.q_lora_rank},
                      {"qk_rope_head_dim", c.qk_rope_head_dim},
                      {"rms_norm_eps", c.rms_norm_eps},
                      {"rope_theta", c.rope_theta},
                      {"routed_scaling_factor", c.routed_scaling_factor},
                      {"scoring_func", c.scoring_func},
                      {"sliding_window", c.sliding_window},
                      {"swiglu_limit", c.swiglu_limit},
                      {"tie_word_embeddings", false},
                      {"torch_dtype", "bfloat16"},
                      {"vocab_size", c.vocab_size}};
  if (c.yarn) {
    out["rope_scaling"] = {{"type", "yarn"},
                           {"factor", c.yarn->factor},
                           {"original_max_position_embeddings", c.yarn->original_max_position_embeddings},
                           {"beta_fast", c.yarn->beta_fast},
                           {"beta_slow", c.yarn->beta_slow}};
  }
  if (!reading.traits.expert_dtype.empty()) out["expert_dtype"] = reading.traits.expert_dtype;
  if (c.quantization) {
    out["quantization_config"] = {{"activation_scheme", "dynamic"},
                                  {"fmt", "e4m3"},
                                  {"quant_method", "fp8"},
                                  {"scale_fmt", c.quantization->scale_fmt},
                                  {"weight_block_size", {128, 128}}};
  }
  return out;
}

}  // namespace outrider
