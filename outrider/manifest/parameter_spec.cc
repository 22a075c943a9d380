#include "outrider/manifest/parameter_spec.h"

namespace outrider {
namespace {

using C = ModelConfig;
using L = LayerAttention;

ParameterShape vec(std::uint64_t n) {
  return {{n, 0}, 1};
}
ParameterShape mat(std::uint64_t rows, std::uint64_t cols) {
  return {{rows, cols}, 2};
}
// CSA's windows overlap, so its projections carry the channels of two windows.
std::uint64_t overlap(const L& l) {
  return l.type == AttentionType::kCompressedSparse ? 2 : 1;
}
std::uint64_t hc_mixes(const C& c) {
  return (2 + c.hc_mult) * c.hc_mult;
}
std::uint64_t shared_width(const C& c) {
  return c.n_shared_experts * c.moe_intermediate_size;
}

using enum ModuleGroup;
using enum Storage;
constexpr Dtype kBf = Dtype::kBF16;
constexpr Dtype kFp = Dtype::kF32;

// clang-format off
constexpr ParameterSpec kSpecs[] = {
  {Slot::kEmbed, kEmbedding, kFloat, kBf, "embed.weight", "embed_tokens.weight", [](const C& c, const L&) { return mat(c.vocab_size, c.hidden_size); }},
  {Slot::kHead, kHead, kLinearNative, kBf, "head.weight", "lm_head.weight", [](const C& c, const L&) { return mat(c.vocab_size, c.hidden_size); }},
  {Slot::kFinalNorm, kNorms, kFloat, kBf, "norm.weight", "norm.weight", [](const C& c, const L&) { return vec(c.hidden_size); }},
  {Slot::kHcHeadFn, kHyperConnections, kFloat32, kFp, "hc_head_fn", "hc_head.hc_fn", [](const C& c, const L&) { return mat(c.hc_mult, c.hc_mult * c.hidden_size); }},
  {Slot::kHcHeadBase, kHyperConnections, kFloat32, kFp, "hc_head_base", "hc_head.hc_base", [](const C& c, const L&) { return vec(c.hc_mult); }},
  {Slot::kHcHeadScale, kHyperConnections, kFloat32, kFp, "hc_head_scale", "hc_head.hc_scale", [](const C&, const L&) { return vec(1); }},

  {Slot::kAttnNorm, kNorms, kFloat, kBf, "attn_norm.weight", "input_layernorm.weight", [](const C& c, const L&) { return vec(c.hidden_size); }},
  {Slot::kFfnNorm, kNorms, kFloat, kBf, "ffn_norm.weight", "post_attention_layernorm.weight", [](const C& c, const L&) { return vec(c.hidden_size); }},
  {Slot::kHcAttnFn, kHyperConnections, kFloat32, kFp, "hc_attn_fn", "attn_hc.fn", [](const C& c, const L&) { return mat(hc_mixes(c), c.hc_mult * c.hidden_size); }},
  {Slot::kHcAttnBase, kHyperConnections, kFloat32, kFp, "hc_attn_base", "attn_hc.base", [](const C& c, const L&) { return vec(hc_mixes(c)); }},
  {Slot::kHcAttnScale, kHyperConnections, kFloat32, kFp, "hc_attn_scale", "attn_hc.scale", [](const C&, const L&) { return vec(3); }},
  {Slot::kHcFfnFn, kHyperConnections, kFloat32, kFp, "hc_ffn_fn", "ffn_hc.fn", [](const C& c, const L&) { return mat(hc_mixes(c), c.hc_mult * c.hidden_size); }},
  {Slot::kHcFfnBase, kHyperConnections, kFloat32, kFp, "hc_ffn_base", "ffn_hc.base", [](const C& c, const L&) { return vec(hc_mixes(c)); }},
  {Slot::kHcFfnScale, kHyperConnections, kFloat32, kFp, "hc_ffn_scale", "ffn_hc.scale", [](const C&, const L&) { return vec(3); }},
  {Slot::kAttnSink, kAttentionSinks, kFloat32, kFp, "attn.attn_sink", "self_attn.sinks", [](const C& c, const L&) { return vec(c.num_attention_heads); }},
  {Slot::kWqA, kAttention, kLinear, kBf, "attn.wq_a.weight", "self_attn.q_a_proj.weight", [](const C& c, const L&) { return mat(c.q_lora_rank, c.hidden_size); }},
  {Slot::kQNorm, kNorms, kFloat, kBf, "attn.q_norm.weight", "self_attn.q_a_norm.weight", [](const C& c, const L&) { return vec(c.q_lora_rank); }},
  {Slot::kWqB, kAttention, kLinear, kBf, "attn.wq_b.weight", "self_attn.q_b_proj.weight", [](const C& c, const L&) { return mat(c.num_attention_heads * c.head_dim, c.q_lora_rank); }},
  {Slot::kWkv, kAttention, kLinear, kBf, "attn.wkv.weight", "self_attn.kv_proj.weight", [](const C& c, const L&) { return mat(c.head_dim, c.hidden_size); }},
  {Slot::kKvNorm, kNorms, kFloat, kBf, "attn.kv_norm.weight", "self_attn.kv_norm.weight", [](const C& c, const L&) { return vec(c.head_dim); }},
  {Slot::kWoA, kAttentionOutputA, kLinear, kBf, "attn.wo_a.weight", "self_attn.o_a_proj.weight", [](const C& c, const L&) { return mat(c.o_groups * c.o_lora_rank, c.num_attention_heads * c.head_dim / c.o_groups); }},
  {Slot::kWoB, kAttention, kLinear, kBf, "attn.wo_b.weight", "self_attn.o_b_proj.weight", [](const C& c, const L&) { return mat(c.hidden_size, c.o_groups * c.o_lora_rank); }},

  {Slot::kCompressorApe, kPositionBias, kFloat32, kFp, "attn.compressor.ape", "self_attn.compressor.position_bias", [](const C& c, const L& l) { return mat(l.compress_ratio, overlap(l) * c.head_dim); }},
  {Slot::kCompressorWkv, kCompressor, kLinearNative, kBf, "attn.compressor.wkv.weight", "self_attn.compressor.kv_proj.weight", [](const C& c, const L& l) { return mat(overlap(l) * c.head_dim, c.hidden_size); }},
  {Slot::kCompressorWgate, kCompressor, kLinearNative, kBf, "attn.compressor.wgate.weight", "self_attn.compressor.gate_proj.weight", [](const C& c, const L& l) { return mat(overlap(l) * c.head_dim, c.hidden_size); }},
  {Slot::kCompressorNorm, kNorms, kFloat, kBf, "attn.compressor.norm.weight", "self_attn.compressor.kv_norm.weight", [](const C& c, const L&) { return vec(c.head_dim); }},

  {Slot::kIndexerWqB, kIndexerQuery, kLinear, kBf, "attn.indexer.wq_b.weight", "self_attn.compressor.indexer.q_b_proj.weight", [](const C& c, const L&) { return mat(c.index_n_heads * c.index_head_dim, c.q_lora_rank); }},
  {Slot::kIndexerWeightsProj, kCompressor, kLinearNative, kBf, "attn.indexer.weights_proj.weight", "self_attn.compressor.indexer.scorer.weights_proj.weight", [](const C& c, const L&) { return mat(c.index_n_heads, c.hidden_size); }},
  {Slot::kIndexerCompressorApe, kPositionBias, kFloat32, kFp, "attn.indexer.compressor.ape", "self_attn.compressor.indexer.position_bias", [](const C& c, const L& l) { return mat(l.compress_ratio, overlap(l) * c.index_head_dim); }},
  {Slot::kIndexerCompressorWkv, kCompressor, kLinearNative, kBf, "attn.indexer.compressor.wkv.weight", "self_attn.compressor.indexer.kv_proj.weight", [](const C& c, const L& l) { return mat(overlap(l) * c.index_head_dim, c.hidden_size); }},
  {Slot::kIndexerCompressorWgate, kCompressor, kLinearNative, kBf, "attn.indexer.compressor.wgate.weight", "self_attn.compressor.indexer.gate_proj.weight", [](const C& c, const L& l) { return mat(overlap(l) * c.index_head_dim, c.hidden_size); }},
  {Slot::kIndexerCompressorNorm, kNorms, kFloat, kBf, "attn.indexer.compressor.norm.weight", "self_attn.compressor.indexer.kv_norm.weight", [](const C& c, const L&) { return vec(c.index_head_dim); }},

  {Slot::kGateWeight, kRouter, kLinearNative, kBf, "ffn.gate.weight", "mlp.gate.weight", [](const C& c, const L&) { return mat(c.n_routed_experts, c.hidden_size); }},
  {Slot::kGateBias, kRouterBias, kFloat32, kFp, "ffn.gate.bias", "mlp.gate.e_score_correction_bias", [](const C& c, const L&) { return vec(c.n_routed_experts); }},
  {Slot::kGateTid2Eid, kHashTable, kInteger, Dtype::kI64, "ffn.gate.tid2eid", "mlp.gate.tid2eid", [](const C& c, const L&) { return mat(c.vocab_size, c.num_experts_per_tok); }},
  {Slot::kExpertW1, kExperts, kLinear, kBf, "ffn.experts.{}.w1.weight", "mlp.experts.{}.gate_proj.weight", [](const C& c, const L&) { return mat(c.moe_intermediate_size, c.hidden_size); }},
  {Slot::kExpertW2, kExperts, kLinear, kBf, "ffn.experts.{}.w2.weight", "mlp.experts.{}.down_proj.weight", [](const C& c, const L&) { return mat(c.hidden_size, c.moe_intermediate_size); }},
  {Slot::kExpertW3, kExperts, kLinear, kBf, "ffn.experts.{}.w3.weight", "mlp.experts.{}.up_proj.weight", [](const C& c, const L&) { return mat(c.moe_intermediate_size, c.hidden_size); }},
  {Slot::kSharedW1, kSharedExperts, kLinear, kBf, "ffn.shared_experts.w1.weight", "mlp.shared_experts.gate_proj.weight", [](const C& c, const L&) { return mat(shared_width(c), c.hidden_size); }},
  {Slot::kSharedW2, kSharedExperts, kLinear, kBf, "ffn.shared_experts.w2.weight", "mlp.shared_experts.down_proj.weight", [](const C& c, const L&) { return mat(c.hidden_size, shared_width(c)); }},
  {Slot::kSharedW3, kSharedExperts, kLinear, kBf, "ffn.shared_experts.w3.weight", "mlp.shared_experts.up_proj.weight", [](const C& c, const L&) { return mat(shared_width(c), c.hidden_size); }},

  {Slot::kEProj, kAttention, kLinear, kBf, "e_proj.weight", "e_proj.weight", [](const C& c, const L&) { return mat(c.hidden_size, c.hidden_size); }},
  {Slot::kHProj, kAttention, kLinear, kBf, "h_proj.weight", "h_proj.weight", [](const C& c, const L&) { return mat(c.hidden_size, c.hidden_size); }},
  {Slot::kENorm, kNorms, kFloat, kBf, "enorm.weight", "enorm.weight", [](const C& c, const L&) { return vec(c.hidden_size); }},
  {Slot::kHNorm, kNorms, kFloat, kBf, "hnorm.weight", "hnorm.weight", [](const C& c, const L&) { return vec(c.hidden_size); }},

  {Slot::kMainProj, kAttention, kLinear, kBf, "main_proj.weight", "main_proj.weight", [](const C& c, const L&) { return mat(c.hidden_size, (c.dspark ? c.dspark->target_layer_ids.size() : 0) * c.hidden_size); }},
  {Slot::kMainNorm, kNorms, kFloat, kBf, "main_norm.weight", "main_norm.weight", [](const C& c, const L&) { return vec(c.hidden_size); }},
  {Slot::kMarkovW1, kDraftHeads, kLinearNative, kBf, "markov_head.markov_w1.weight", "markov_head.markov_w1.weight", [](const C& c, const L&) { return mat(c.vocab_size, c.dspark ? c.dspark->markov_rank : 0); }},
  {Slot::kMarkovW2, kDraftHeads, kLinearNative, kBf, "markov_head.markov_w2.weight", "markov_head.markov_w2.weight", [](const C& c, const L&) { return mat(c.vocab_size, c.dspark ? c.dspark->markov_rank : 0); }},
  {Slot::kConfidenceProj, kDraftHeads, kLinearNative, kBf, "confidence_head.proj.weight", "confidence_head.proj.weight", [](const C& c, const L&) { return mat(1, c.hidden_size + (c.dspark ? c.dspark->markov_rank : 0)); }},
};
// clang-format on

static_assert(std::size(kSpecs) == kSlotCount);
constexpr bool in_slot_order() {
  for (std::size_t i = 0; i < kSlotCount; ++i) {
    if (static_cast<std::size_t>(kSpecs[i].slot) != i) return false;
  }
  return true;
}
static_assert(in_slot_order());

}  // namespace

std::span<const ParameterSpec> parameter_specs() {
  return kSpecs;
}
const ParameterSpec& parameter_spec(Slot slot) {
  return kSpecs[static_cast<std::size_t>(slot)];
}

std::string_view module_group_name(ModuleGroup group) {
  switch (group) {
    case ModuleGroup::kEmbedding:
      return "embedding";
    case ModuleGroup::kHead:
      return "head";
    case ModuleGroup::kNorms:
      return "norms";
    case ModuleGroup::kHyperConnections:
      return "hyper-connections";
    case ModuleGroup::kAttention:
      return "attention";
    case ModuleGroup::kAttentionOutputA:
      return "attention wo_a";
    case ModuleGroup::kAttentionSinks:
      return "attention sinks";
    case ModuleGroup::kCompressor:
      return "compressor";
    case ModuleGroup::kPositionBias:
      return "compressor ape";
    case ModuleGroup::kIndexerQuery:
      return "indexer wq_b";
    case ModuleGroup::kRouter:
      return "router";
    case ModuleGroup::kRouterBias:
      return "router bias";
    case ModuleGroup::kHashTable:
      return "hash routing";
    case ModuleGroup::kSharedExperts:
      return "shared experts";
    case ModuleGroup::kExperts:
      return "experts";
    case ModuleGroup::kDraftHeads:
      return "draft heads";
  }
  return "";
}

}  // namespace outrider
