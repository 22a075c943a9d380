#include "outrider/binding/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace outrider {

std::string_view storage_form_name(StorageForm form) {
  switch (form) {
    case StorageForm::kPlain:
      return "plain";
    case StorageForm::kFp8Block:
      return "FP8 block";
    case StorageForm::kMxfp4:
      return "MXFP4";
    case StorageForm::kW4A16:
      return "W4A16";
    case StorageForm::kNvfp4:
      return "NVFP4";
    case StorageForm::kNvfp4Modelopt:
      return "NVFP4 (modelopt)";
  }
  return "";
}

std::string_view tensor_use_reason(TensorUse use) {
  switch (use) {
    case TensorUse::kUndecided:
    case TensorUse::kUsed:
      return "used";
    case TensorUse::kUnusedActivationScale:
      return "activation scale; activations are scaled at run time";
    case TensorUse::kUnusedDspark:
      return "belongs to a DSpark drafter, which is not an MTP block";
    case TensorUse::kUnusedNoDrafter:
      return "a drafting block beyond num_nextn_predict_layers";
    case TensorUse::kUnusedVision:
      return "vision tower; only the text model runs";
    case TensorUse::kUnusedEngram:
      return "engram table of DeepSeek-V4.1";
    case TensorUse::kUnusedRotaryCache:
      return "computed from the config";
    case TensorUse::kUnusedStrayFile:
      return "in a file that the index does not name";
    case TensorUse::kUnusedDuplicate:
      return "its parameter already has a source";
    case TensorUse::kUnusedOrphan:
      return "companion of a weight that is not there";
    case TensorUse::kUnusedStray:
      return "companion of a weight that is not quantised that way";
    case TensorUse::kUnusedOutside:
      return "a layer, expert or parameter that the config's model does not have";
    case TensorUse::kUnusedExploded:
      return "one row of a tensor that a save took apart";
    case TensorUse::kUnusedUnknown:
      return "no parameter of DeepSeek-V4 has this name";
  }
  return "";
}

TensorSlice BindingReport::slice_of_stack(ParameterId id, TensorId t) const {
  const Binding& b = bindings[id];
  const std::uint64_t bytes = tensor(t).bytes();
  const Parameter& p = (*manifest)[id];
  const std::uint64_t per_expert = bytes / manifest->config().n_routed_experts;
  const std::uint64_t at = per_expert * static_cast<std::uint64_t>(p.expert);
  if (b.part == ExpertPart::kStackedDown) return {t, at, per_expert};
  const std::uint64_t half = per_expert / 2;
  return {t, at + (p.slot == Slot::kExpertW3 ? half : 0), half};
}

namespace {

struct BlockOfName {
  std::uint64_t index = 0;
  std::string_view leaf;  // what follows "mtp.N."
};

// The drafting block a name lies in: mtp.N, or V3 style a layer past the last.
std::optional<BlockOfName> drafter_block(std::string_view name, std::uint64_t num_hidden_layers) {
  if (name.starts_with("model.")) name.remove_prefix(6);
  std::uint64_t first = 0;
  if (name.starts_with("mtp.")) {
    name.remove_prefix(4);
  } else if (name.starts_with("layers.") && num_hidden_layers != 0) {
    name.remove_prefix(7);
    first = num_hidden_layers;
  } else {
    return std::nullopt;
  }
  std::uint64_t index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  const auto digits = static_cast<std::size_t>(end - name.data());
  if (error != std::errc{} || digits == name.size() || *end != '.') return std::nullopt;
  if (index < first || index >= first + 64) return std::nullopt;
  return BlockOfName{index - first, name.substr(digits + 1)};
}

bool begins_with_any(std::string_view text, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view p) { return text.starts_with(p); });
}

}  // namespace

DrafterScan scan_drafter(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers) {
  DrafterScan scan;
  bool mtp = false;
  bool dspark = false;
  // A pattern and its first number tell whether a name lies in a drafting block, and what it says of that.
  struct Known {
    std::uint32_t first = NamePatterns::kNone;
    bool in_drafter = false;
  };
  std::vector<Known> known(checkpoint.patterns().size());
  for (std::size_t t = 0; t < checkpoint.tensors().size(); ++t) {
    const NameKey& key = checkpoint.keys()[t];
    Known& k = known[key.pattern];
    if (k.first == key.first) {
      scan.tensors += k.in_drafter;
      continue;
    }
    const std::string name = checkpoint.name(t);
    const std::optional<BlockOfName> block = drafter_block(name, num_hidden_layers);
    k = {key.first, block.has_value()};
    if (!block) continue;
    ++scan.tensors;
    scan.blocks = std::max(scan.blocks, static_cast<std::uint32_t>(block->index + 1));
    mtp = mtp || begins_with_any(block->leaf, {"enorm.", "hnorm.", "e_proj.", "h_proj."});
    dspark = dspark || begins_with_any(block->leaf, {"main_proj.", "main_norm.", "markov_head.", "confidence_head."});
  }
  scan.both = mtp && dspark;
  if (dspark) {
    scan.kind = DrafterKind::kDspark;
  } else if (scan.tensors != 0) {
    scan.kind = DrafterKind::kMtp;
  }
  return scan;
}

std::shared_ptr<const Manifest> manifest_for(const ModelConfig& config, const DrafterScan& drafter) {
  std::uint32_t blocks = 0;
  DrafterKind kind = drafter.kind;
  if (kind == DrafterKind::kMtp) {
    blocks = static_cast<std::uint32_t>(config.num_nextn_predict_layers);
    if (blocks == 0) kind = DrafterKind::kNone;
  } else if (kind == DrafterKind::kDspark) {
    // Stages have a number of their own: the entries of compress_ratios past the last layer, else what is on disk.
    blocks = config.drafter_layers.empty() ? drafter.blocks : static_cast<std::uint32_t>(config.drafter_layers.size());
    if (!config.dspark || config.dspark->markov_rank == 0 || config.dspark->target_layer_ids.empty()) {
      kind = DrafterKind::kNone;
      blocks = 0;
    }
  }
  return std::make_shared<const Manifest>(config, kind, blocks);
}

ConfigHints config_hints(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers) {
  ConfigHints hints;
  if (num_hidden_layers == 0 || num_hidden_layers > 4096) return hints;
  std::vector<LayerAttention> layers(num_hidden_layers);
  std::vector<bool> seen(num_hidden_layers);
  std::uint64_t hash_layers = 0;
  std::uint64_t mtp_blocks = 0;
  for (std::size_t t = 0; t < checkpoint.tensors().size(); ++t) {
    const TensorInfo& tensor = checkpoint.tensors()[t];
    const TensorName name = parse_tensor_name(checkpoint.name(t), num_hidden_layers, false);
    if (name.kind != TensorName::Kind::kParameter) continue;
    if (name.block.kind == BlockKind::kMtp) {
      mtp_blocks = std::max<std::uint64_t>(mtp_blocks, name.block.index + 1);
      continue;
    }
    if (name.block.kind != BlockKind::kLayer || name.block.index >= num_hidden_layers) continue;
    LayerAttention& layer = layers[name.block.index];
    seen[name.block.index] = true;
    if (name.slot == Slot::kCompressorApe && tensor.shape.size() == 2) layer.compress_ratio = tensor.shape[0];
    if (name.slot == Slot::kIndexerWqB) {
      layer.type = AttentionType::kCompressedSparse;
    } else if (name.slot == Slot::kCompressorApe && layer.type == AttentionType::kWindow) {
      layer.type = AttentionType::kHeavilyCompressed;
    }
    if (name.slot == Slot::kGateTid2Eid) hash_layers = std::max<std::uint64_t>(hash_layers, name.block.index + 1);
  }
  const bool ratios_known = std::all_of(
      layers.begin(), layers.end(), [](const LayerAttention& l) { return !l.compressed() || l.compress_ratio != 0; });
  if (ratios_known && std::all_of(seen.begin(), seen.end(), [](bool s) { return s; })) hints.layers = layers;
  hints.num_hash_layers = hash_layers;
  if (!checkpoint.names_only() || mtp_blocks != 0) hints.num_nextn_predict_layers = mtp_blocks;
  return hints;
}

}  // namespace outrider
