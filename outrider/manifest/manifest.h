#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "outrider/manifest/model_config.h"
#include "outrider/manifest/parameter_spec.h"

namespace outrider {

// The kind of drafter under `mtp.*`. Determined from tensor names, never from num_nextn_predict_layers alone.
enum class DrafterKind { kNone, kMtp, kDspark };

using ParameterId = std::uint32_t;

// One parameter of the model: a line of its architecture's registry in one block.
struct Parameter {
  Slot slot = Slot::kEmbed;
  Block block;
  std::int32_t expert = -1;  // -1 if it is not a routed expert's
  const ParameterSpec* line = nullptr;
  ParameterShape shape;
  // The parameter whose tensor is used if this one has none of its own: a drafting block shares head and embedding with
  // the model, unless it has its own. The order of files does not matter.
  std::optional<ParameterId> falls_back_to;

  const ParameterSpec& spec() const { return *line; }
  // Canonical (official) name: "layers.3.ffn.experts.17.w1.weight", "mtp.0.emb.tok_emb.weight".
  std::string name() const;
};

// All parameters of a config's model, main model and drafter: the lines of its architecture's registry, each in the
// blocks that have it.
class Manifest {
 public:
  // `config` must have been read with shapes_known. `drafter_blocks`: MTP blocks (kMtp) or stages (kDspark).
  // `drafter_experts`: experts per drafter block if different from the model's; 0: the model's.
  Manifest(const ModelConfig& config, DrafterKind drafter, std::uint32_t drafter_blocks,
           std::span<const std::uint64_t> drafter_experts = {});

  const ModelConfig& config() const { return config_; }
  DrafterKind drafter() const { return drafter_; }
  std::uint32_t drafter_blocks() const { return drafter_blocks_; }
  std::span<const Parameter> parameters() const { return parameters_; }
  const Parameter& operator[](ParameterId id) const { return parameters_[id]; }
  // The architecture's line for a slot that at least one of its blocks can have.
  const ParameterSpec& spec(Slot slot) const { return *specs_[static_cast<std::size_t>(slot)]; }

  // nullopt: the block does not exist, or has no such parameter (e.g. a compressor in a window layer).
  std::optional<ParameterId> find(Block block, Slot slot, std::int32_t expert = -1) const {
    const std::optional<std::size_t> at = block_position(block);
    if (!at) return std::nullopt;
    const std::int32_t first = blocks_[*at].first[static_cast<std::size_t>(slot)];
    if (first < 0 || is_expert(slot) != (expert >= 0)) return std::nullopt;
    if (!is_expert(slot)) return static_cast<ParameterId>(first);
    if (static_cast<std::uint64_t>(expert) >= blocks_[*at].experts) return std::nullopt;
    return static_cast<ParameterId>(first + 3 * expert);
  }
  bool has_block(Block block) const { return block_position(block).has_value(); }
  // Routed experts of an existing block; a drafter's number may differ from the model's.
  std::uint64_t experts(Block block) const { return blocks_[*block_position(block)].experts; }

  // Blocks in order: the top, the layers, the drafter's.
  std::size_t blocks() const { return blocks_.size(); }
  std::optional<std::size_t> block_position(Block block) const {
    const std::size_t layers = config_.layers.size();
    switch (block.kind) {
      case BlockKind::kTop:
        return 0;
      case BlockKind::kLayer:
        if (block.index < layers) return 1 + block.index;
        break;
      case BlockKind::kMtp:
      case BlockKind::kDspark:
        if ((block.kind == BlockKind::kDspark) != (drafter_ == DrafterKind::kDspark)) break;
        if (block.index < drafter_blocks_) return 1 + layers + block.index;
        break;
    }
    return std::nullopt;
  }
  // The parameters of the blocks [begin, end), which are contiguous: the first, and the one past the last.
  std::pair<ParameterId, ParameterId> parameters_of(std::size_t begin, std::size_t end) const;

 private:
  struct BlockEntry {
    ParameterId begin = 0;
    std::uint64_t experts = 0;
    std::array<std::int32_t, kSlotCount> first;  // first ParameterId of the slot; -1: absent
  };

  // `config`: the model's, with the block's number of experts.
  void add_block(const BlockContext& context, const ModelConfig& config);

  ModelConfig config_;
  std::array<const ParameterSpec*, kSlotCount> specs_{};  // by Slot; nullptr: not in this architecture
  DrafterKind drafter_;
  std::uint32_t drafter_blocks_;
  std::vector<Parameter> parameters_;
  std::vector<BlockEntry> blocks_;
};

// "layers.3", "mtp.0"; empty for the top.
std::string block_name(Block block);

}  // namespace outrider
