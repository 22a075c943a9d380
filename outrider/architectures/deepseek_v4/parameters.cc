#include "outrider/architectures/deepseek_v4/parameters.h"

#include <algorithm>
#include <iterator>

namespace outrider::deepseek_v4 {
namespace {

using C = ModelConfig;
using L = LayerAttention;
using B = BlockContext;

constexpr bool top(const B& b) {
  return b.block.kind == BlockKind::kTop;
}
constexpr bool mtp(const B& b) {
  return b.block.kind == BlockKind::kMtp;
}
constexpr bool dspark(const B& b) {
  return b.block.kind == BlockKind::kDspark;
}
constexpr bool last_stage(const B& b) {
  return dspark(b) && b.block.index + 1 == b.drafter_blocks;
}

// Which blocks have a parameter. A block is a layer, an MTP block or a DSpark stage.
constexpr Presence kModelOrDrafter = {"model; MTP blocks and DSpark stages may have their own",
                                      [](const B& b) { return top(b) || mtp(b) || dspark(b); }, true};
constexpr Presence kWithHead = {"model, MTP blocks, last DSpark stage",
                                [](const B& b) { return top(b) || mtp(b) || last_stage(b); }};
constexpr Presence kBlocks = {"layers, MTP blocks, DSpark stages", [](const B& b) { return !top(b); }};
constexpr Presence kCompressed = {"CSA and HCA layers", [](const B& b) { return !top(b) && b.attention.compressed(); }};
constexpr Presence kSparse = {
    "CSA layers", [](const B& b) { return !top(b) && b.attention.type == AttentionType::kCompressedSparse; }};
constexpr Presence kScoreRouted = {"layers that are not hash-routed, MTP blocks, DSpark stages",
                                   [](const B& b) { return !top(b) && !b.hash_routed; }};
constexpr Presence kHashRouted = {"hash-routed layers", [](const B& b) { return !top(b) && b.hash_routed; }};
constexpr Presence kMtpBlocks = {"MTP blocks", mtp};
constexpr Presence kFirstStage = {"first DSpark stage", [](const B& b) { return dspark(b) && b.block.index == 0; }};
constexpr Presence kLastStage = {"last DSpark stage", last_stage};

// CSA's windows overlap, so its projections have the channels of two windows.
constexpr std::uint64_t overlap(const L& l) {
  return l.type == AttentionType::kCompressedSparse ? 2 : 1;
}
std::uint64_t markov_rank(const C& c) {
  return c.dspark ? c.dspark->markov_rank : 0;
}
std::uint64_t targets(const C& c) {
  return c.dspark ? c.dspark->target_layer_ids.size() : 0;
}

// clang-format off
// docs/parameters.md explains the symbols.
constexpr Dimension kOne = {"1", [](const C&, const L&) -> std::uint64_t { return 1; }};
constexpr Dimension kThree = {"3", [](const C&, const L&) -> std::uint64_t { return 3; }};
constexpr Dimension kVocab = {"V", [](const C& c, const L&) { return c.vocab_size; }};
constexpr Dimension kHidden = {"D", [](const C& c, const L&) { return c.hidden_size; }};
constexpr Dimension kStreams = {"hc", [](const C& c, const L&) { return c.hc_mult; }};
constexpr Dimension kStreamsWidth = {"hc*D", [](const C& c, const L&) { return c.hc_mult * c.hidden_size; }};
constexpr Dimension kMixes = {"(2+hc)*hc", [](const C& c, const L&) { return (2 + c.hc_mult) * c.hc_mult; }};
constexpr Dimension kHeads = {"H", [](const C& c, const L&) { return c.num_attention_heads; }};
constexpr Dimension kHeadDim = {"hd", [](const C& c, const L&) { return c.head_dim; }};
constexpr Dimension kHeadsWidth = {"H*hd", [](const C& c, const L&) { return c.num_attention_heads * c.head_dim; }};
constexpr Dimension kQueryRank = {"q_lora", [](const C& c, const L&) { return c.q_lora_rank; }};
constexpr Dimension kOutputRanks = {"G*o_lora", [](const C& c, const L&) { return c.o_groups * c.o_lora_rank; }};
constexpr Dimension kHeadsOfGroup = {"H*hd/G", [](const C& c, const L&) { return c.num_attention_heads * c.head_dim / c.o_groups; }};
constexpr Dimension kRatio = {"r", [](const C&, const L& l) { return l.compress_ratio; }};
constexpr Dimension kEntry = {"w*hd", [](const C& c, const L& l) { return overlap(l) * c.head_dim; }};
constexpr Dimension kIndexHeads = {"IH", [](const C& c, const L&) { return c.index_n_heads; }};
constexpr Dimension kIndexHeadDim = {"ihd", [](const C& c, const L&) { return c.index_head_dim; }};
constexpr Dimension kIndexHeadsWidth = {"IH*ihd", [](const C& c, const L&) { return c.index_n_heads * c.index_head_dim; }};
constexpr Dimension kIndexEntry = {"w*ihd", [](const C& c, const L& l) { return overlap(l) * c.index_head_dim; }};
constexpr Dimension kRoutedExperts = {"E", [](const C& c, const L&) { return c.n_routed_experts; }};
constexpr Dimension kExpertsPerToken = {"K", [](const C& c, const L&) { return c.num_experts_per_tok; }};
constexpr Dimension kExpertWidth = {"I", [](const C& c, const L&) { return c.moe_intermediate_size; }};
constexpr Dimension kSharedWidth = {"S*I", [](const C& c, const L&) { return c.n_shared_experts * c.moe_intermediate_size; }};
constexpr Dimension kTargetsWidth = {"T*D", [](const C& c, const L&) { return targets(c) * c.hidden_size; }};
constexpr Dimension kMarkovRank = {"M", [](const C& c, const L&) { return markov_rank(c); }};
constexpr Dimension kConfidenceWidth = {"D+M", [](const C& c, const L&) { return c.hidden_size + markov_rank(c); }};
// clang-format on

using enum ModuleGroup;
using enum Storage;
constexpr Dtype kBf = Dtype::kBF16;
constexpr Dtype kFp = Dtype::kF32;

// clang-format off
constexpr ParameterSpec kSpecs[] = {
  {Slot::kEmbed, kModelOrDrafter, kEmbedding, kFloat, kBf, "embed.weight", "embed_tokens.weight", "token_embd.weight", {kVocab, kHidden}, "emb.tok_emb.weight", "nextn.embed_tokens.weight"},
  {Slot::kHead, kModelOrDrafter, kHead, kLinearNative, kBf, "head.weight", "lm_head.weight", "output.weight", {kVocab, kHidden}, {}, "nextn.shared_head_head.weight"},
  {Slot::kFinalNorm, kWithHead, kNorms, kFloat, kBf, "norm.weight", "norm.weight", "output_norm.weight", {kHidden}, {}, "nextn.shared_head_norm.weight"},
  {Slot::kHcHeadFn, kWithHead, kHyperConnections, kFloat32, kFp, "hc_head_fn", "hc_head.hc_fn", "output_hc_fn.weight", {kStreams, kStreamsWidth}, {}, kNoName},
  {Slot::kHcHeadBase, kWithHead, kHyperConnections, kFloat32, kFp, "hc_head_base", "hc_head.hc_base", "output_hc_base.weight", {kStreams}, {}, kNoName},
  {Slot::kHcHeadScale, kWithHead, kHyperConnections, kFloat32, kFp, "hc_head_scale", "hc_head.hc_scale", "output_hc_scale.weight", {kOne}, {}, kNoName},

  {Slot::kAttnNorm, kBlocks, kNorms, kFloat, kBf, "attn_norm.weight", "input_layernorm.weight", "attn_norm.weight", {kHidden}},
  {Slot::kFfnNorm, kBlocks, kNorms, kFloat, kBf, "ffn_norm.weight", "post_attention_layernorm.weight", "ffn_norm.weight", {kHidden}},
  {Slot::kHcAttnFn, kBlocks, kHyperConnections, kFloat32, kFp, "hc_attn_fn", "attn_hc.fn", "hc_attn_fn.weight", {kMixes, kStreamsWidth}},
  {Slot::kHcAttnBase, kBlocks, kHyperConnections, kFloat32, kFp, "hc_attn_base", "attn_hc.base", "hc_attn_base.weight", {kMixes}},
  {Slot::kHcAttnScale, kBlocks, kHyperConnections, kFloat32, kFp, "hc_attn_scale", "attn_hc.scale", "hc_attn_scale.weight", {kThree}},
  {Slot::kHcFfnFn, kBlocks, kHyperConnections, kFloat32, kFp, "hc_ffn_fn", "ffn_hc.fn", "hc_ffn_fn.weight", {kMixes, kStreamsWidth}},
  {Slot::kHcFfnBase, kBlocks, kHyperConnections, kFloat32, kFp, "hc_ffn_base", "ffn_hc.base", "hc_ffn_base.weight", {kMixes}},
  {Slot::kHcFfnScale, kBlocks, kHyperConnections, kFloat32, kFp, "hc_ffn_scale", "ffn_hc.scale", "hc_ffn_scale.weight", {kThree}},
  {Slot::kAttnSink, kBlocks, kAttentionSinks, kFloat32, kFp, "attn.attn_sink", "self_attn.sinks", "attn_sinks.weight", {kHeads}},
  {Slot::kWqA, kBlocks, kAttention, kLinear, kBf, "attn.wq_a.weight", "self_attn.q_a_proj.weight", "attn_q_a.weight", {kQueryRank, kHidden}},
  {Slot::kQNorm, kBlocks, kNorms, kFloat, kBf, "attn.q_norm.weight", "self_attn.q_a_norm.weight", "attn_q_a_norm.weight", {kQueryRank}},
  {Slot::kWqB, kBlocks, kAttention, kLinear, kBf, "attn.wq_b.weight", "self_attn.q_b_proj.weight", "attn_q_b.weight", {kHeadsWidth, kQueryRank}},
  {Slot::kWkv, kBlocks, kAttention, kLinear, kBf, "attn.wkv.weight", "self_attn.kv_proj.weight", "attn_kv.weight", {kHeadDim, kHidden}},
  {Slot::kKvNorm, kBlocks, kNorms, kFloat, kBf, "attn.kv_norm.weight", "self_attn.kv_norm.weight", "attn_kv_a_norm.weight", {kHeadDim}},
  {Slot::kWoA, kBlocks, kAttentionOutputA, kLinear, kBf, "attn.wo_a.weight", "self_attn.o_a_proj.weight", "attn_output_a.weight", {kOutputRanks, kHeadsOfGroup}},
  {Slot::kWoB, kBlocks, kAttention, kLinear, kBf, "attn.wo_b.weight", "self_attn.o_b_proj.weight", "attn_output_b.weight", {kHidden, kOutputRanks}},

  {Slot::kCompressorApe, kCompressed, kPositionBias, kFloat32, kFp, "attn.compressor.ape", "self_attn.compressor.position_bias", "attn_compressor_ape.weight", {kRatio, kEntry}},
  {Slot::kCompressorWkv, kCompressed, kCompressor, kLinearNative, kBf, "attn.compressor.wkv.weight", "self_attn.compressor.kv_proj.weight", "attn_compressor_kv.weight", {kEntry, kHidden}},
  {Slot::kCompressorWgate, kCompressed, kCompressor, kLinearNative, kBf, "attn.compressor.wgate.weight", "self_attn.compressor.gate_proj.weight", "attn_compressor_gate.weight", {kEntry, kHidden}},
  {Slot::kCompressorNorm, kCompressed, kNorms, kFloat, kBf, "attn.compressor.norm.weight", "self_attn.compressor.kv_norm.weight", "attn_compressor_norm.weight", {kHeadDim}},

  {Slot::kIndexerWqB, kSparse, kIndexerQuery, kLinear, kBf, "attn.indexer.wq_b.weight", "self_attn.compressor.indexer.q_b_proj.weight", "indexer.attn_q_b.weight", {kIndexHeadsWidth, kQueryRank}},
  {Slot::kIndexerWeightsProj, kSparse, kCompressor, kLinearNative, kBf, "attn.indexer.weights_proj.weight", "self_attn.compressor.indexer.scorer.weights_proj.weight", "indexer.proj.weight", {kIndexHeads, kHidden}},
  {Slot::kIndexerCompressorApe, kSparse, kPositionBias, kFloat32, kFp, "attn.indexer.compressor.ape", "self_attn.compressor.indexer.position_bias", "indexer_compressor_ape.weight", {kRatio, kIndexEntry}},
  {Slot::kIndexerCompressorWkv, kSparse, kCompressor, kLinearNative, kBf, "attn.indexer.compressor.wkv.weight", "self_attn.compressor.indexer.kv_proj.weight", "indexer_compressor_kv.weight", {kIndexEntry, kHidden}},
  {Slot::kIndexerCompressorWgate, kSparse, kCompressor, kLinearNative, kBf, "attn.indexer.compressor.wgate.weight", "self_attn.compressor.indexer.gate_proj.weight", "indexer_compressor_gate.weight", {kIndexEntry, kHidden}},
  {Slot::kIndexerCompressorNorm, kSparse, kNorms, kFloat, kBf, "attn.indexer.compressor.norm.weight", "self_attn.compressor.indexer.kv_norm.weight", "indexer_compressor_norm.weight", {kIndexHeadDim}},

  {Slot::kGateWeight, kBlocks, kRouter, kLinearNative, kBf, "ffn.gate.weight", "mlp.gate.weight", "ffn_gate_inp.weight", {kRoutedExperts, kHidden}},
  {Slot::kGateBias, kScoreRouted, kRouterBias, kFloat32, kFp, "ffn.gate.bias", "mlp.gate.e_score_correction_bias", "exp_probs_b.bias", {kRoutedExperts}},
  {Slot::kGateTid2Eid, kHashRouted, kHashTable, kInteger, Dtype::kI64, "ffn.gate.tid2eid", "mlp.gate.tid2eid", "ffn_gate_tid2eid.weight", {kVocab, kExpertsPerToken}},
  {Slot::kExpertW1, kBlocks, kExperts, kLinear, kBf, "ffn.experts.{}.w1.weight", "mlp.experts.{}.gate_proj.weight", "ffn_gate_exps.weight", {kExpertWidth, kHidden}},
  {Slot::kExpertW2, kBlocks, kExperts, kLinear, kBf, "ffn.experts.{}.w2.weight", "mlp.experts.{}.down_proj.weight", "ffn_down_exps.weight", {kHidden, kExpertWidth}},
  {Slot::kExpertW3, kBlocks, kExperts, kLinear, kBf, "ffn.experts.{}.w3.weight", "mlp.experts.{}.up_proj.weight", "ffn_up_exps.weight", {kExpertWidth, kHidden}},
  {Slot::kSharedW1, kBlocks, kSharedExperts, kLinear, kBf, "ffn.shared_experts.w1.weight", "mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight", {kSharedWidth, kHidden}},
  {Slot::kSharedW2, kBlocks, kSharedExperts, kLinear, kBf, "ffn.shared_experts.w2.weight", "mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight", {kHidden, kSharedWidth}},
  {Slot::kSharedW3, kBlocks, kSharedExperts, kLinear, kBf, "ffn.shared_experts.w3.weight", "mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight", {kSharedWidth, kHidden}},

  {Slot::kEProj, kMtpBlocks, kAttention, kLinear, kBf, "e_proj.weight", "e_proj.weight", "nextn.eh_proj.weight", {kHidden, kHidden}},
  {Slot::kHProj, kMtpBlocks, kAttention, kLinear, kBf, "h_proj.weight", "h_proj.weight", "nextn.eh_proj.weight", {kHidden, kHidden}},
  {Slot::kENorm, kMtpBlocks, kNorms, kFloat, kBf, "enorm.weight", "enorm.weight", "nextn.enorm.weight", {kHidden}},
  {Slot::kHNorm, kMtpBlocks, kNorms, kFloat, kBf, "hnorm.weight", "hnorm.weight", "nextn.hnorm.weight", {kHidden}},

  {Slot::kMainProj, kFirstStage, kAttention, kLinear, kBf, "main_proj.weight", "main_proj.weight", "", {kHidden, kTargetsWidth}},
  {Slot::kMainNorm, kFirstStage, kNorms, kFloat, kBf, "main_norm.weight", "main_norm.weight", "", {kHidden}},
  {Slot::kMarkovW1, kLastStage, kDraftHeads, kLinearNative, kBf, "markov_head.markov_w1.weight", "markov_head.markov_w1.weight", "", {kVocab, kMarkovRank}},
  {Slot::kMarkovW2, kLastStage, kDraftHeads, kLinearNative, kBf, "markov_head.markov_w2.weight", "markov_head.markov_w2.weight", "", {kVocab, kMarkovRank}},
  {Slot::kConfidenceProj, kLastStage, kDraftHeads, kLinearNative, kBf, "confidence_head.proj.weight", "confidence_head.proj.weight", "", {kOne, kConfidenceWidth}},
};
// clang-format on

static_assert(std::size(kSpecs) == kSlotCount);
// One line per slot, in the order of Slot, with blocks and shape.
constexpr bool is_complete() {
  for (std::size_t i = 0; i < kSlotCount; ++i) {
    const ParameterSpec& spec = kSpecs[i];
    if (static_cast<std::size_t>(spec.slot) != i) return false;
    if (spec.presence.in == nullptr || spec.presence.blocks.empty() || spec.dimensions[0].size == nullptr) return false;
  }
  return true;
}
static_assert(is_complete());

}  // namespace

std::span<const ParameterSpec> parameters() {
  return kSpecs;
}

}  // namespace outrider::deepseek_v4
