#include "outrider/manifest/manifest.h"

#include <fmt/format.h>

#include "outrider/manifest/architecture.h"

namespace outrider {

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
  const std::string_view official = spec().official_name(block.kind);
  if (expert < 0) return out.append(official);
  return out += fmt::format(fmt::runtime(official), expert);
}

Manifest::Manifest(const ModelConfig& config, DrafterKind drafter, std::uint32_t drafter_blocks,
                   std::span<const std::uint64_t> drafter_experts)
    : config_(config), drafter_(drafter), drafter_blocks_(drafter == DrafterKind::kNone ? 0 : drafter_blocks) {
  for (const ParameterSpec& spec : config.architecture->parameters())
    specs_[static_cast<std::size_t>(spec.slot)] = &spec;
  parameters_.reserve((config.layers.size() + drafter_blocks_) * (3 * config.n_routed_experts + 40) + 8);
  add_block({.drafter_blocks = drafter_blocks_}, config);
  for (std::uint32_t i = 0; i < config.layers.size(); ++i) {
    add_block({{BlockKind::kLayer, i}, config.layers[i], config.hash_layers[i], drafter_blocks_}, config);
  }
  const BlockKind kind = drafter == DrafterKind::kDspark ? BlockKind::kDspark : BlockKind::kMtp;
  // A drafting block is a sliding-window layer, whatever the model's layers are.
  ModelConfig drafter_config = config;
  for (std::uint32_t i = 0; i < drafter_blocks_; ++i) {
    const std::uint64_t own = i < drafter_experts.size() ? drafter_experts[i] : 0;
    drafter_config.n_routed_experts = own != 0 ? own : config.n_routed_experts;
    add_block({.block = {kind, i}, .drafter_blocks = drafter_blocks_}, drafter_config);
  }
}

void Manifest::add_block(const BlockContext& context, const ModelConfig& config) {
  BlockEntry entry;
  entry.begin = static_cast<ParameterId>(parameters_.size());
  entry.experts = config.n_routed_experts;
  entry.first.fill(-1);
  std::vector<Parameter> expert;  // parameters of each expert
  for (const ParameterSpec* spec : specs_) {
    if (spec == nullptr || !spec->presence.in(context)) continue;
    const auto slot = static_cast<std::size_t>(spec->slot);
    Parameter p{.slot = spec->slot,
                .block = context.block,
                .line = spec,
                .shape = spec->shape(config, context.attention),
                .falls_back_to = {}};
    if (is_expert(spec->slot)) {
      expert.push_back(p);
      continue;
    }
    if (spec->presence.falls_back_to_model && context.block.kind != BlockKind::kTop) {
      p.falls_back_to = static_cast<ParameterId>(blocks_[0].first[slot]);
    }
    entry.first[slot] = static_cast<std::int32_t>(parameters_.size());
    parameters_.push_back(p);
  }
  for (std::size_t i = 0; i < expert.size(); ++i) {
    entry.first[static_cast<std::size_t>(expert[i].slot)] = static_cast<std::int32_t>(parameters_.size() + i);
  }
  if (!expert.empty()) {
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
