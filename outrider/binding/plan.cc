#include "outrider/binding/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace outrider {
namespace {

constexpr std::uint64_t kMaxBlocks = 4096;
constexpr std::uint64_t kMaxDraftingBlocks = 64;

}  // namespace

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
      return "a drafting block that is not loaded";
    case TensorUse::kUnusedVision:
      return "vision tower; only the text model runs";
    case TensorUse::kUnusedEngram:
      return "engram table of DeepSeek-V4.1";
    case TensorUse::kUnusedRotaryCache:
      return "computed from the config";
    case TensorUse::kUnusedKvCacheScale:
      return "scale of a quantised KV cache; Outrider's is not quantised";
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
  const std::uint64_t per_expert = bytes / manifest->experts(p.block);
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
  name = without_prefixes(name);
  std::uint64_t first = 0;
  if (name.starts_with("mtp.")) {
    name.remove_prefix(4);
    if (name.starts_with("layers.")) name.remove_prefix(7);
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
  if (index < first || index >= first + kMaxDraftingBlocks) return std::nullopt;
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
  const auto add = [&](const NameKey& key) {
    Known& k = known[key.pattern];
    if (k.first == key.first) return k.in_drafter;
    const std::string name = checkpoint.patterns().name(key);
    const std::optional<BlockOfName> block = drafter_block(name, num_hidden_layers);
    k = {key.first, block.has_value()};
    if (!block) return false;
    scan.blocks = std::max(scan.blocks, static_cast<std::uint32_t>(block->index + 1));
    mtp = mtp || begins_with_any(block->leaf, {"enorm.", "hnorm.", "e_proj.", "h_proj."});
    dspark = dspark || begins_with_any(block->leaf, {"main_proj.", "main_norm.", "markov_head.", "confidence_head."});
    return true;
  };
  for (const NameKey& key : checkpoint.keys()) scan.tensors += add(key);
  // What a missing file holds tells the kind, too.
  for (const AbsentTensor& absent : checkpoint.absent()) add(absent.key);
  scan.both = mtp && dspark;
  if (dspark) {
    scan.kind = DrafterKind::kDspark;
  } else if (scan.blocks != 0) {
    scan.kind = DrafterKind::kMtp;
  }
  return scan;
}

std::optional<std::uint64_t> ExpertCounts::of_all_layers() const {
  if (layers.empty() || layers[0] == 0) return std::nullopt;
  const bool agree = std::all_of(layers.begin(), layers.end(), [&](std::uint64_t n) { return n == layers[0]; });
  return agree ? std::optional(layers[0]) : std::nullopt;
}

ExpertCounts count_experts(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers) {
  struct Seen {
    std::uint64_t router = 0;
    std::uint64_t experts = 0;
  };
  ExpertCounts counts;
  if (num_hidden_layers == 0 || num_hidden_layers > kMaxBlocks || checkpoint.names_only()) return counts;
  std::vector<Seen> layers(num_hidden_layers);
  std::vector<Seen> drafter(kMaxDraftingBlocks);
  TensorNameReader reader(checkpoint.patterns(), num_hidden_layers, false);
  for (std::size_t t = 0; t < checkpoint.tensors().size(); ++t) {
    const TensorName name = reader.read(checkpoint.keys()[t]);
    const bool stack = name.part != ExpertPart::kNone;
    if (name.kind != TensorName::Kind::kParameter || (name.expert < 0 && !stack && name.slot != Slot::kGateWeight))
      continue;
    std::vector<Seen>& blocks = name.block.kind == BlockKind::kMtp ? drafter : layers;
    if (name.block.kind == BlockKind::kTop || name.block.index >= blocks.size()) continue;
    Seen& block = blocks[name.block.index];
    const auto& shape = checkpoint.tensors()[t].shape;
    if (name.expert >= 0) {
      block.experts = std::max(block.experts, static_cast<std::uint64_t>(name.expert) + 1);
    } else if (!shape.empty() && (stack || name.component == Component::kWeight)) {
      (stack ? block.experts : block.router) = shape[0];
    }
  }
  const auto agreed = [](const std::vector<Seen>& blocks) {
    std::vector<std::uint64_t> out;
    for (const Seen& block : blocks) out.push_back(block.router == block.experts ? block.router : 0);
    return out;
  };
  counts.layers = agreed(layers);
  counts.drafter = agreed(drafter);
  return counts;
}

std::shared_ptr<const Manifest> manifest_for(const ModelConfig& config, const DrafterScan& drafter,
                                             const ExpertCounts& experts) {
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
  return std::make_shared<const Manifest>(config, kind, blocks, experts.drafter);
}

namespace {

// What of a layer is on disk, as far as it tells what the layer is.
struct LayerEvidence {
  std::uint64_t ratio = 0;  // rows of the compressor's position bias
  bool seen = false;
  unsigned compressor = 0;  // of its four parameters
  unsigned indexer = 0;     // of its own two and its compressor's four
  bool tid2eid = false;
  bool gate_bias = false;

  void add(Slot slot) {
    compressor += slot >= Slot::kCompressorApe && slot <= Slot::kCompressorNorm;
    indexer += slot >= Slot::kIndexerWqB && slot <= Slot::kIndexerCompressorNorm;
    tid2eid = tid2eid || slot == Slot::kGateTid2Eid;
    gate_bias = gate_bias || slot == Slot::kGateBias;
  }
  LayerAttention attention() const {
    if (indexer != 0) return {AttentionType::kCompressedSparse, ratio};
    if (compressor != 0) return {AttentionType::kHeavilyCompressed, ratio};
    return {};
  }
  bool certain() const { return ratio != 0 && compressor == 4 && (indexer == 0 || indexer == 6); }
};

}  // namespace

ConfigHints config_hints(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers) {
  ConfigHints hints;
  if (num_hidden_layers == 0 || num_hidden_layers > kMaxBlocks) return hints;
  std::vector<LayerEvidence> layers(num_hidden_layers);
  std::uint64_t mtp_blocks = 0;
  TensorNameReader reader(checkpoint.patterns(), num_hidden_layers, false);
  const auto add = [&](const NameKey& key, const TensorInfo* tensor) {
    const TensorName name = reader.read(key);
    if (name.kind != TensorName::Kind::kParameter) return;
    if (name.block.kind == BlockKind::kMtp) mtp_blocks = std::max<std::uint64_t>(mtp_blocks, name.block.index + 1);
    if (name.block.kind != BlockKind::kLayer || name.block.index >= num_hidden_layers) return;
    LayerEvidence& layer = layers[name.block.index];
    if (name.component == Component::kWeight) layer.add(name.slot);
    if (tensor == nullptr) return;
    layer.seen = true;
    if (name.slot == Slot::kCompressorApe && tensor->shape.size() == 2) layer.ratio = tensor->shape[0];
  };
  for (const AbsentTensor& absent : checkpoint.absent()) add(absent.key, nullptr);
  for (std::size_t t = 0; t < checkpoint.tensors().size(); ++t) add(checkpoint.keys()[t], &checkpoint.tensors()[t]);

  std::vector<LayerAttention> attention;
  std::vector<bool> hash_layers;
  for (const LayerEvidence& layer : layers) {
    attention.push_back(layer.attention());
    hash_layers.push_back(layer.tid2eid);
    hints.certain_layers.push_back(layer.certain() ? std::optional(layer.attention()) : std::nullopt);
  }
  const bool ratios_known =
      std::ranges::all_of(attention, [](const LayerAttention& l) { return !l.compressed() || l.compress_ratio != 0; });
  if (ratios_known && std::ranges::all_of(layers, &LayerEvidence::seen)) hints.layers = attention;
  if (std::ranges::all_of(layers, [](const LayerEvidence& l) { return l.tid2eid != l.gate_bias; }))
    hints.certain_hash_layers = hash_layers;
  hints.hash_layers = std::move(hash_layers);
  if (!checkpoint.names_only() || mtp_blocks != 0) hints.num_nextn_predict_layers = mtp_blocks;
  return hints;
}

namespace {

// Whether the tensors say something else than a config that says everything.
bool contradict(const ConfigHints& hints, const ModelConfig& config) {
  if (hints.n_routed_experts && *hints.n_routed_experts != config.n_routed_experts) return true;
  if (hints.certain_hash_layers && *hints.certain_hash_layers != config.hash_layers) return true;
  for (std::size_t i = 0; i < std::min(hints.certain_layers.size(), config.layers.size()); ++i) {
    if (hints.certain_layers[i] && hints.certain_layers[i]->type != config.layers[i].type) return true;
  }
  return false;
}

}  // namespace

ModelReading read_model(const Checkpoint& checkpoint) {
  ModelReading out{read_config(checkpoint.config_json()), {}};
  if (out.config.unsupported()) return out;
  const ModelConfig& config = out.config.config;
  out.experts = count_experts(checkpoint, config.num_hidden_layers);
  ConfigHints hints = config_hints(checkpoint, config.num_hidden_layers);
  hints.n_routed_experts = out.experts.of_all_layers();
  // What the config lost, or was not told, the tensors may know.
  if (!out.config.sound() || contradict(hints, config)) out.config = read_config(checkpoint.config_json(), hints);
  return out;
}

}  // namespace outrider
