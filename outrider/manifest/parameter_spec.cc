#include "outrider/manifest/parameter_spec.h"

namespace outrider {

ParameterShape ParameterSpec::shape(const ModelConfig& config, const LayerAttention& attention) const {
  ParameterShape out;
  out.rank = rank();
  for (std::size_t i = 0; i < out.rank; ++i) out.dims[i] = dimensions[i].size(config, attention);
  return out;
}

std::string_view storage_text(Storage storage) {
  switch (storage) {
    case Storage::kFloat:
      return "BF16, F16, F32";
    case Storage::kFloat32:
      return "F32; BF16 and F16 have lost precision";
    case Storage::kInteger:
      return "I64, I32";
    case Storage::kLinear:
      return "any storage form";
    case Storage::kLinearNative:
      return "any storage form; in the releases not quantised";
  }
  return "";
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
