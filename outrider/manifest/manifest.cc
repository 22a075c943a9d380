#include "outrider/manifest/manifest.h"

#include <fmt/format.h>

namespace outrider {
namespace {

bool has_slot(Slot slot, Block block, const LayerAttention& attention, const ModelConfig& config,
              std::uint32_t drafter_blocks) {
  const bool top = block.kind == BlockKind::kTop;
  const bool mtp = block.kind == BlockKind::kMtp;
  const bool dspark = block.kind == BlockKind::kDspark;
  const bool last_stage = dspark && block.index + 1 == drafter_blocks;
  const bool hash = block.kind == BlockKind::kLayer && config.hash_layers[block.index];
  switch (slot) {
    case Slot::kEmbed:
    case Slot::kHead:
      return top || mtp || dspark;
    case Slot::kFinalNorm:
    case Slot::kHcHeadFn:
    case Slot::kHcHeadBase:
    case Slot::kHcHeadScale:
      return top || mtp || last_stage;
    case Slot::kCompressorApe:
    case Slot::kCompressorWkv:
    case Slot::kCompressorWgate:
    case Slot::kCompressorNorm:
      return !top && attention.compressed();
    case Slot::kIndexerWqB:
    case Slot::kIndexerWeightsProj:
    case Slot::kIndexerCompressorApe:
    case Slot::kIndexerCompressorWkv:
    case Slot::kIndexerCompressorWgate:
    case Slot::kIndexerCompressorNorm:
      return !top && attention.type == AttentionType::kCompressedSparse;
    case Slot::kGateBias:
      return !top && !hash;
    case Slot::kGateTid2Eid:
      return hash;
    case Slot::kEProj:
    case Slot::kHProj:
    case Slot::kENorm:
    case Slot::kHNorm:
      return mtp;
    case Slot::kMainProj:
    case Slot::kMainNorm:
      return dspark && block.index == 0;
    case Slot::kMarkovW1:
    case Slot::kMarkovW2:
    case Slot::kConfidenceProj:
      return last_stage;
    default:
      return !top;
  }
}

}  // namespace

std::string block_name(Block block) {
  switch (block.kind) {
    case BlockKind::kTop:
      return "";
    case BlockKind::kLayer:
      return fmt::format("layers.{}", block.index);
    case BlockKind::kMtp:
    case BlockKind::kDspark:
      return fmt::format("mtp.{}", block.index);
  }
  return "";
}

std::string Parameter::name() const {
  std::string out = block_name(block);
  if (!out.empty()) out += '.';
  if (block.kind == BlockKind::kMtp && slot == Slot::kEmbed) return out + "emb.tok_emb.weight";
  const std::string_view official = spec().official;
  if (expert < 0) return out.append(official);
  return out += fmt::format(fmt::runtime(official), expert);
}

Manifest::Manifest(const ModelConfig& config, DrafterKind drafter, std::uint32_t drafter_blocks,
                   std::span<const std::uint64_t> drafter_experts)
    : config_(config), drafter_(drafter), drafter_blocks_(drafter == DrafterKind::kNone ? 0 : drafter_blocks) {
  parameters_.reserve((config.layers.size() + drafter_blocks_) * (3 * config.n_routed_experts + 40) + 8);
  add_block({BlockKind::kTop, 0}, {}, config);
  for (std::uint32_t i = 0; i < config.layers.size(); ++i) add_block({BlockKind::kLayer, i}, config.layers[i], config);
  const BlockKind kind = drafter == DrafterKind::kDspark ? BlockKind::kDspark : BlockKind::kMtp;
  // A drafting block is a sliding-window layer, whatever the other layers are.
  ModelConfig drafter_config = config;
  for (std::uint32_t i = 0; i < drafter_blocks_; ++i) {
    const std::uint64_t own = i < drafter_experts.size() ? drafter_experts[i] : 0;
    drafter_config.n_routed_experts = own != 0 ? own : config.n_routed_experts;
    add_block({kind, i}, {}, drafter_config);
  }
}

void Manifest::add_block(Block block, const LayerAttention& attention, const ModelConfig& config) {
  BlockEntry entry;
  entry.begin = static_cast<ParameterId>(parameters_.size());
  entry.experts = config.n_routed_experts;
  entry.first.fill(-1);
  const auto add = [&](const ParameterSpec& spec) {
    Parameter p;
    p.slot = spec.slot;
    p.block = block;
    p.shape = spec.shape(config, attention);
    if (block.kind != BlockKind::kTop && (spec.slot == Slot::kEmbed || spec.slot == Slot::kHead)) {
      p.falls_back_to = static_cast<ParameterId>(blocks_[0].first[static_cast<std::size_t>(spec.slot)]);
    }
    parameters_.push_back(p);
  };
  for (const ParameterSpec& spec : parameter_specs()) {
    if (is_expert(spec.slot) || !has_slot(spec.slot, block, attention, config, drafter_blocks_)) continue;
    entry.first[static_cast<std::size_t>(spec.slot)] = static_cast<std::int32_t>(parameters_.size());
    add(spec);
  }
  if (block.kind != BlockKind::kTop) {
    const Slot experts[] = {Slot::kExpertW1, Slot::kExpertW2, Slot::kExpertW3};
    for (std::size_t i = 0; i < 3; ++i) {
      entry.first[static_cast<std::size_t>(experts[i])] = static_cast<std::int32_t>(parameters_.size() + i);
    }
    std::array<Parameter, 3> expert;
    for (std::size_t i = 0; i < 3; ++i) {
      expert[i].slot = experts[i];
      expert[i].block = block;
      expert[i].shape = parameter_spec(experts[i]).shape(config, attention);
    }
    for (std::uint64_t e = 0; e < config.n_routed_experts; ++e) {
      for (Parameter& p : expert) {
        p.expert = static_cast<std::int32_t>(e);
        parameters_.push_back(p);
      }
    }
  }
  blocks_.push_back(entry);
}

std::pair<ParameterId, ParameterId> Manifest::parameters_of(std::size_t begin, std::size_t end) const {
  const auto first = [this](std::size_t block) {
    return block < blocks_.size() ? blocks_[block].begin : static_cast<ParameterId>(parameters_.size());
  };
  return {first(begin), first(end)};
}

}  // namespace outrider
