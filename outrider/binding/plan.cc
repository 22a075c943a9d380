#include "outrider/binding/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace outrider {
namespace {

constexpr std::uint64_t kMaxBlocks = 4096;
constexpr std::uint64_t kMaxDraftingBlocks = 64;

}  // namespace

std::string_view tensor_use_reason(TensorUse use) {
  switch (use) {
    case TensorUse::kUndecided:
    case TensorUse::kUsed:
      return "used";
    case TensorUse::kUnusedActivationScale:
      return "activation scale; activations are scaled at run time";
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
      return "in a file that is not in the index";
    case TensorUse::kUnusedDuplicate:
      return "its parameter already has a source";
    case TensorUse::kUnusedOrphan:
      return "companion of a missing weight";
    case TensorUse::kUnusedStray:
      return "companion of a weight that is not quantised that way";
    case TensorUse::kUnusedOutside:
      return "a layer, expert or parameter that is not in the config";
    case TensorUse::kUnusedExploded:
      return "one row of a tensor that was saved as single rows";
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
  // Whether a name lies in a drafting block, and what it says of that.
  const auto add = [&](std::string_view name) {
    const std::optional<BlockOfName> block = drafter_block(name, num_hidden_layers);
    if (!block) return false;
    scan.blocks = std::max(scan.blocks, static_cast<std::uint32_t>(block->index + 1));
    mtp = mtp || begins_with_any(block->leaf, {"enorm.", "hnorm.", "e_proj.", "h_proj."});
    dspark = dspark || begins_with_any(block->leaf, {"main_proj.", "main_norm.", "markov_head.", "confidence_head."});
    return true;
  };
  for (const TensorInfo& tensor : checkpoint.tensors()) scan.tensors += add(tensor.name);
  // What a missing file holds tells the kind, too.
  for (const AbsentTensor& absent : checkpoint.absent()) add(absent.tensor);
  scan.both = mtp && dspark;
  if (dspark) {
    scan.kind = DrafterKind::kDspark;
  } else if (scan.blocks != 0) {
    scan.kind = DrafterKind::kMtp;
  }
  return scan;
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

// What of a block is on disk, as far as it tells what the block is.
struct BlockEvidence {
  std::uint64_t ratio = 0;    // rows of the compressor's position bias
  std::uint64_t router = 0;   // rows of the router's weight
  std::uint64_t experts = 0;  // one more than the highest expert, or the experts of a stack
  bool seen = false;
  unsigned compressor = 0;  // of its four parameters
  unsigned indexer = 0;     // of its own two and its compressor's four
  bool tid2eid = false;
  bool gate_bias = false;

  // `tensor`: nullptr for one that lies in a file that is not there.
  void add(const TensorName& name, const TensorInfo* tensor) {
    const bool weight = name.component == Component::kWeight;
    compressor += weight && name.slot >= Slot::kCompressorApe && name.slot <= Slot::kCompressorNorm;
    indexer += weight && name.slot >= Slot::kIndexerWqB && name.slot <= Slot::kIndexerCompressorNorm;
    tid2eid = tid2eid || (weight && name.slot == Slot::kGateTid2Eid);
    gate_bias = gate_bias || (weight && name.slot == Slot::kGateBias);
    if (tensor == nullptr) return;
    seen = true;
    const auto& shape = tensor->shape;
    if (name.slot == Slot::kCompressorApe && shape.size() == 2) ratio = shape[0];
    if (name.expert >= 0) {
      experts = std::max(experts, static_cast<std::uint64_t>(name.expert) + 1);
    } else if (name.part != ExpertPart::kNone && !shape.empty()) {
      experts = shape[0];
    } else if (name.slot == Slot::kGateWeight && weight && !shape.empty()) {
      router = shape[0];
    }
  }
  LayerAttention attention() const {
    if (indexer != 0) return {AttentionType::kCompressedSparse, ratio};
    if (compressor != 0) return {AttentionType::kHeavilyCompressed, ratio};
    return {};
  }
  bool attention_certain() const { return ratio != 0 && compressor == 4 && (indexer == 0 || indexer == 6); }
  std::uint64_t agreed_experts() const { return router == experts ? router : 0; }
};

struct Evidence {
  std::vector<BlockEvidence> layers;
  std::vector<BlockEvidence> drafter;  // kMaxDraftingBlocks
  std::uint64_t mtp_blocks = 0;        // one more than the highest index
};

// `names`: of all tensors.
Evidence read_evidence(const Checkpoint& checkpoint, std::uint64_t num_hidden_layers,
                       const std::vector<TensorName>& names) {
  Evidence out{std::vector<BlockEvidence>(num_hidden_layers), std::vector<BlockEvidence>(kMaxDraftingBlocks), 0};
  const auto add = [&](const TensorName& name, const TensorInfo* tensor) {
    if (name.kind != TensorName::Kind::kParameter || name.block.kind == BlockKind::kTop) return;
    const bool mtp = name.block.kind == BlockKind::kMtp;
    if (mtp) out.mtp_blocks = std::max<std::uint64_t>(out.mtp_blocks, name.block.index + 1);
    std::vector<BlockEvidence>& blocks = mtp ? out.drafter : out.layers;
    if (name.block.index < blocks.size()) blocks[name.block.index].add(name, tensor);
  };
  for (const AbsentTensor& absent : checkpoint.absent()) {
    add(parse_tensor_name(absent.tensor, num_hidden_layers, false), nullptr);
  }
  const std::vector<TensorInfo>& tensors = checkpoint.tensors();
  for (std::size_t t = 0; t < tensors.size(); ++t) add(names[t], &tensors[t]);
  return out;
}

// Config fields that the tensors on disk give away.
ConfigHints hints_of(const Evidence& evidence, bool names_only) {
  const std::vector<BlockEvidence>& layers = evidence.layers;
  ConfigHints hints;
  std::vector<LayerAttention> attention;
  std::vector<bool> hash_layers;
  for (const BlockEvidence& layer : layers) {
    attention.push_back(layer.attention());
    hash_layers.push_back(layer.tid2eid);
    hints.certain_layers.push_back(layer.attention_certain() ? std::optional(layer.attention()) : std::nullopt);
  }
  const bool ratios_known =
      std::ranges::all_of(attention, [](const LayerAttention& l) { return !l.compressed() || l.compress_ratio != 0; });
  if (ratios_known && std::ranges::all_of(layers, &BlockEvidence::seen)) hints.layers = attention;
  if (std::ranges::all_of(layers, [](const BlockEvidence& l) { return l.tid2eid != l.gate_bias; }))
    hints.certain_hash_layers = hash_layers;
  hints.hash_layers = std::move(hash_layers);
  if (!names_only || evidence.mtp_blocks != 0) hints.num_nextn_predict_layers = evidence.mtp_blocks;
  const std::uint64_t experts = layers[0].agreed_experts();
  if (experts != 0 &&
      std::ranges::all_of(layers, [&](const BlockEvidence& l) { return l.agreed_experts() == experts; }))
    hints.n_routed_experts = experts;
  return hints;
}

std::vector<std::uint64_t> agreed_experts(const std::vector<BlockEvidence>& blocks) {
  std::vector<std::uint64_t> out;
  for (const BlockEvidence& block : blocks) out.push_back(block.agreed_experts());
  return out;
}

}  // namespace

ModelReading read_model(const Checkpoint& checkpoint, ThreadPool& pool) {
  ModelReading out;
  out.config = read_config(checkpoint.config_json(), [&](std::uint64_t num_hidden_layers) {
    if (num_hidden_layers == 0 || num_hidden_layers > kMaxBlocks) return ConfigHints();
    out.parsed = {num_hidden_layers, parse_tensor_names(checkpoint.tensors(), num_hidden_layers, false, pool)};
    const Evidence evidence = read_evidence(checkpoint, num_hidden_layers, out.parsed.names);
    out.experts = {agreed_experts(evidence.layers), agreed_experts(evidence.drafter)};
    return hints_of(evidence, checkpoint.names_only());
  });
  return out;
}

}  // namespace outrider
