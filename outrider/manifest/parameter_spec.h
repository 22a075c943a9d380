#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "outrider/checkpoint/dtype.h"
#include "outrider/manifest/model_config.h"

namespace outrider {

// The part of the model that a parameter belongs to.
enum class BlockKind : std::uint8_t {
  kTop,     // embedding, final norm, head
  kLayer,   // layers.N
  kMtp,     // mtp.N: a multi-token-prediction block
  kDspark,  // mtp.N of a release whose drafter is DSpark: known, never run by Outrider
};

struct Block {
  BlockKind kind = BlockKind::kTop;
  std::uint32_t index = 0;

  friend bool operator==(const Block&, const Block&) = default;
};

// All parameters that a block of any architecture can have. Experts have three slots, repeated for each expert.
enum class Slot : std::uint8_t {
  // top
  kEmbed,
  kHead,
  kFinalNorm,
  kHcHeadFn,
  kHcHeadBase,
  kHcHeadScale,
  // every block with attention
  kAttnNorm,
  kFfnNorm,
  kHcAttnFn,
  kHcAttnBase,
  kHcAttnScale,
  kHcFfnFn,
  kHcFfnBase,
  kHcFfnScale,
  kAttnSink,
  kWqA,
  kQNorm,
  kWqB,
  kWkv,
  kKvNorm,
  kWoA,
  kWoB,
  // compressed layers
  kCompressorApe,
  kCompressorWkv,
  kCompressorWgate,
  kCompressorNorm,
  // CSA layers
  kIndexerWqB,
  kIndexerWeightsProj,
  kIndexerCompressorApe,
  kIndexerCompressorWkv,
  kIndexerCompressorWgate,
  kIndexerCompressorNorm,
  // mixture of experts
  kGateWeight,
  kGateBias,
  kGateTid2Eid,
  kExpertW1,
  kExpertW2,
  kExpertW3,
  kSharedW1,
  kSharedW2,
  kSharedW3,
  // MTP
  kEProj,
  kHProj,
  kENorm,
  kHNorm,
  // DSpark
  kMainProj,
  kMainNorm,
  kMarkovW1,
  kMarkovW2,
  kConfidenceProj,
};
inline constexpr std::size_t kSlotCount = static_cast<std::size_t>(Slot::kConfidenceProj) + 1;

// A projection of a routed expert.
constexpr bool is_expert(Slot slot) {
  return slot >= Slot::kExpertW1 && slot <= Slot::kExpertW3;
}

// Allowed storage of a parameter. storage_text() describes it in words.
enum class Storage : std::uint8_t {
  kFloat,         // BF16, F16 or F32
  kFloat32,       // F32 in the release; BF16 and F16 are accepted with a finding: precision was lost on saving
  kInteger,       // I64 or I32
  kLinear,        // any storage form of a linear: plain, FP8 block, MXFP4, W4A16, NVFP4
  kLinearNative,  // like kLinear, but unquantised in the release, and engines assume so
};

std::string_view storage_text(Storage storage);

// Modules that are stored alike; reports and consistency checks use these groups.
enum class ModuleGroup : std::uint8_t {
  kEmbedding,
  kHead,
  kNorms,
  kHyperConnections,
  kAttention,
  kAttentionOutputA,  // wo_a: may stay BF16 if the rest of attention is quantised
  kAttentionSinks,
  kCompressor,
  kPositionBias,
  kIndexerQuery,
  kRouter,
  kRouterBias,
  kHashTable,
  kSharedExperts,
  kExperts,
  kDraftHeads,
};
inline constexpr std::size_t kModuleGroupCount = static_cast<std::size_t>(ModuleGroup::kDraftHeads) + 1;
std::string_view module_group_name(ModuleGroup group);

struct ParameterShape {
  std::array<std::uint64_t, 2> dims{};
  std::uint8_t rank = 0;  // 1 or 2

  std::span<const std::uint64_t> span() const { return {dims.data(), rank}; }
  std::uint64_t elements() const { return rank == 2 ? dims[0] * dims[1] : dims[0]; }
};

// The properties of a block that determine its parameters.
struct BlockContext {
  Block block = {};
  LayerAttention attention = {};
  bool hash_routed = false;          // experts are chosen by token id
  std::uint32_t drafter_blocks = 0;  // MTP blocks or DSpark stages of the model
};

// Which blocks have a parameter.
struct Presence {
  std::string_view blocks;  // in words: "compressed layers"
  bool (*in)(const BlockContext&);
  // A drafting block without a tensor of its own uses the model's.
  bool falls_back_to_model = false;
};

// One dimension of a parameter: its symbol ("hc*D"), and its size in a block.
struct Dimension {
  std::string_view text;
  std::uint64_t (*size)(const ModelConfig&, const LayerAttention&);
};

inline constexpr std::string_view kNoName = "-";

// One line of the registry that everything else is derived from: the blocks that have the parameter, its name in each
// dialect, its shape and its allowed storage.
struct ParameterSpec {
  Slot slot;
  Presence presence;
  ModuleGroup group;
  Storage storage;
  Dtype release_dtype;                  // in the official release, if it is not quantised
  std::string_view official;            // below the block: "attn.wq_a.weight"; experts: "ffn.experts.{}.w1.weight"
  std::string_view hugging_face;        // "self_attn.q_a_proj.weight"
  std::string_view llama_cpp;           // in a GGUF file: "attn_q_a.weight"; a stack of all experts; empty: not stored
  std::array<Dimension, 2> dimensions;  // [rows, cols] = [out, in]; a vector has the first only
  std::string_view official_in_mtp = {};   // below an MTP block, if different
  std::string_view llama_cpp_in_mtp = {};  // the same; kNoName: not stored

  std::uint8_t rank() const { return dimensions[1].size == nullptr ? 1 : 2; }
  ParameterShape shape(const ModelConfig& config, const LayerAttention& attention) const;
  std::string_view official_name(BlockKind kind) const {
    return kind == BlockKind::kMtp && !official_in_mtp.empty() ? official_in_mtp : official;
  }
  // Empty if a GGUF file has no such tensor.
  std::string_view llama_cpp_name(BlockKind kind) const {
    if (kind != BlockKind::kMtp || llama_cpp_in_mtp.empty()) return llama_cpp;
    return llama_cpp_in_mtp == kNoName ? std::string_view() : llama_cpp_in_mtp;
  }
};

}  // namespace outrider
