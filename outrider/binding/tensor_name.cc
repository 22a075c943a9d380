#include "outrider/binding/tensor_name.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <unordered_map>
#include <vector>

namespace outrider {
namespace {

// One spelling of a piece of a module's path, and the dialect it belongs to.
enum : std::uint8_t { kBoth = 0, kOfficial = 1, kHuggingFace = 2, kRenamed = 4, kVariant = 8 };
struct Spelling {
  std::string_view text;
  std::uint8_t dialect;
};

struct Entry {
  Slot slot;
  std::uint8_t dialect;  // the bits above
  bool bare;             // the whole name, no component follows (attn_sink, ape, tid2eid, …)
  ExpertPart part = ExpertPart::kNone;
  Component component = Component::kWeight;  // of a whole name
};

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using Lookup = std::unordered_map<std::string, Entry, StringHash, std::equal_to<>>;

void add(Lookup& table, const std::vector<Spelling>& containers, const std::vector<Spelling>& leaves, Slot slot,
         bool bare = false) {
  for (const Spelling& c : containers) {
    for (const Spelling& l : leaves) {
      table[fmt::format("{}{}", c.text, l.text)] = {slot, static_cast<std::uint8_t>(c.dialect | l.dialect), bare};
    }
  }
}

Lookup block_table() {
  Lookup t;
  const std::vector<Spelling> root = {{"", kBoth}};
  const std::vector<Spelling> attn = {{"attn.", kOfficial}, {"self_attn.", kHuggingFace}};
  const std::vector<Spelling> compressor = {{"attn.compressor.", kOfficial}, {"self_attn.compressor.", kHuggingFace}};
  const std::vector<Spelling> indexer = {{"attn.indexer.", kOfficial},
                                         {"self_attn.indexer.", kHuggingFace | kOfficial},
                                         {"self_attn.compressor.indexer.", kHuggingFace},
                                         {"attn.compressor.indexer.", kHuggingFace | kOfficial}};
  const std::vector<Spelling> indexer_compressor = {{"attn.indexer.compressor.", kOfficial},
                                                    {"self_attn.indexer.compressor.", kHuggingFace | kOfficial},
                                                    {"self_attn.compressor.indexer.", kHuggingFace},
                                                    {"attn.compressor.indexer.", kHuggingFace | kOfficial}};
  const std::vector<Spelling> ffn = {{"ffn.", kOfficial}, {"mlp.", kHuggingFace}};
  const std::vector<Spelling> shared = {{"ffn.shared_experts.", kOfficial}, {"mlp.shared_experts.", kHuggingFace}};

  add(t, root, {{"attn_norm", kOfficial}, {"input_layernorm", kHuggingFace}}, Slot::kAttnNorm);
  add(t, root, {{"ffn_norm", kOfficial}, {"post_attention_layernorm", kHuggingFace}}, Slot::kFfnNorm);
  add(t, root, {{"hc_attn_fn", kOfficial}, {"attn_hc.fn", kHuggingFace}}, Slot::kHcAttnFn, true);
  add(t, root, {{"hc_attn_base", kOfficial}, {"attn_hc.base", kHuggingFace}}, Slot::kHcAttnBase, true);
  add(t, root, {{"hc_attn_scale", kOfficial}, {"attn_hc.scale", kHuggingFace}}, Slot::kHcAttnScale, true);
  add(t, root, {{"hc_ffn_fn", kOfficial}, {"ffn_hc.fn", kHuggingFace}}, Slot::kHcFfnFn, true);
  add(t, root, {{"hc_ffn_base", kOfficial}, {"ffn_hc.base", kHuggingFace}}, Slot::kHcFfnBase, true);
  add(t, root, {{"hc_ffn_scale", kOfficial}, {"ffn_hc.scale", kHuggingFace}}, Slot::kHcFfnScale, true);

  add(t, attn, {{"attn_sink", kOfficial}, {"sinks", kHuggingFace}}, Slot::kAttnSink, true);
  add(t, attn, {{"wq_a", kOfficial}, {"q_a_proj", kHuggingFace}}, Slot::kWqA);
  add(t, attn, {{"q_norm", kOfficial}, {"q_a_norm", kHuggingFace}}, Slot::kQNorm);
  add(t, attn, {{"wq_b", kOfficial}, {"q_b_proj", kHuggingFace}}, Slot::kWqB);
  add(t, attn, {{"wkv", kOfficial}, {"kv_proj", kHuggingFace}}, Slot::kWkv);
  // transformers 5.16 and later reverse their rule ".norm." -> ".kv_norm.", which is meant for compressors and not
  // anchored to them.
  add(t, attn, {{"kv_norm", kBoth}, {"norm", kRenamed}}, Slot::kKvNorm);
  add(t, attn, {{"wo_a", kOfficial}, {"o_a_proj", kHuggingFace}}, Slot::kWoA);
  add(t, attn, {{"wo_b", kOfficial}, {"o_b_proj", kHuggingFace}}, Slot::kWoB);

  add(t, compressor, {{"ape", kOfficial}, {"position_bias", kHuggingFace}}, Slot::kCompressorApe, true);
  add(t, compressor, {{"wkv", kOfficial}, {"kv_proj", kHuggingFace}}, Slot::kCompressorWkv);
  add(t, compressor, {{"wgate", kOfficial}, {"gate_proj", kHuggingFace}}, Slot::kCompressorWgate);
  add(t, compressor, {{"norm", kOfficial}, {"kv_norm", kHuggingFace}}, Slot::kCompressorNorm);

  add(t, indexer, {{"wq_b", kOfficial}, {"q_b_proj", kHuggingFace}}, Slot::kIndexerWqB);
  add(t, indexer, {{"weights_proj", kBoth}, {"scorer.weights_proj", kHuggingFace}}, Slot::kIndexerWeightsProj);
  add(t, indexer_compressor, {{"ape", kOfficial}, {"position_bias", kHuggingFace}}, Slot::kIndexerCompressorApe, true);
  add(t, indexer_compressor, {{"wkv", kOfficial}, {"kv_proj", kHuggingFace}}, Slot::kIndexerCompressorWkv);
  add(t, indexer_compressor, {{"wgate", kOfficial}, {"gate_proj", kHuggingFace}}, Slot::kIndexerCompressorWgate);
  add(t, indexer_compressor, {{"norm", kOfficial}, {"kv_norm", kHuggingFace}}, Slot::kIndexerCompressorNorm);

  // The same of a model that was loaded under Hugging Face's names.
  add(t, root, {{"self_attn.compressor.norm", kHuggingFace | kRenamed}}, Slot::kCompressorNorm);
  add(t, root, {{"self_attn.compressor.indexer.norm", kHuggingFace | kRenamed}}, Slot::kIndexerCompressorNorm);

  add(t, ffn, {{"gate", kBoth}}, Slot::kGateWeight);
  add(t, ffn, {{"gate.bias", kOfficial}, {"gate.e_score_correction_bias", kHuggingFace}}, Slot::kGateBias, true);
  add(t, ffn, {{"gate.tid2eid", kBoth}}, Slot::kGateTid2Eid, true);
  add(t, shared, {{"w1", kOfficial}, {"gate_proj", kHuggingFace}}, Slot::kSharedW1);
  add(t, shared, {{"w2", kOfficial}, {"down_proj", kHuggingFace}}, Slot::kSharedW2);
  add(t, shared, {{"w3", kOfficial}, {"up_proj", kHuggingFace}}, Slot::kSharedW3);

  for (const std::string_view container : {"ffn.experts.", "mlp.experts."}) {
    for (const std::string_view suffix : {"", ".weight", "_scale_inv"}) {
      const Component component = suffix == "_scale_inv" ? Component::kWeightScaleInv : Component::kWeight;
      const std::uint8_t dialect = container == "ffn.experts." ? kOfficial | kHuggingFace : kHuggingFace;
      t[fmt::format("{}gate_up_proj{}", container, suffix)] = {Slot::kExpertW1, dialect, true,
                                                               ExpertPart::kStackedGateUp, component};
      t[fmt::format("{}down_proj{}", container, suffix)] = {Slot::kExpertW2, dialect, true, ExpertPart::kStackedDown,
                                                            component};
    }
  }
  return t;
}

void add_hyper_head(Lookup& t) {
  const std::vector<Spelling> containers = {
      {"hc_head_", kOfficial}, {"hc_head.hc_", kHuggingFace}, {"hc_head.", kVariant}};
  add(t, containers, {{"fn", kBoth}}, Slot::kHcHeadFn, true);
  add(t, containers, {{"base", kBoth}}, Slot::kHcHeadBase, true);
  add(t, containers, {{"scale", kBoth}}, Slot::kHcHeadScale, true);
}

Lookup top_table() {
  Lookup t;
  const std::vector<Spelling> root = {{"", kBoth}};
  add(t, root, {{"embed", kOfficial}, {"embed_tokens", kHuggingFace}}, Slot::kEmbed);
  add(t, root, {{"head", kOfficial}, {"lm_head", kHuggingFace}}, Slot::kHead);
  add(t, root, {{"norm", kBoth}}, Slot::kFinalNorm);
  add_hyper_head(t);
  return t;
}

Lookup drafter_table() {
  Lookup t = block_table();
  const std::vector<Spelling> root = {{"", kBoth}};
  add(t, root, {{"e_proj", kBoth}}, Slot::kEProj);
  add(t, root, {{"h_proj", kBoth}}, Slot::kHProj);
  add(t, root, {{"enorm", kBoth}}, Slot::kENorm);
  add(t, root, {{"hnorm", kBoth}}, Slot::kHNorm);
  // The same rule applied to an MTP block and not reversed: kv_norm.
  add(t, root,
      {{"norm", kBoth},
       {"kv_norm", kRenamed},
       {"shared_head.norm", kHuggingFace},
       {"shared_head.kv_norm", kHuggingFace | kRenamed}},
      Slot::kFinalNorm);
  add_hyper_head(t);
  add(t, root, {{"head", kOfficial}, {"lm_head", kHuggingFace}, {"shared_head.head", kHuggingFace}}, Slot::kHead);
  add(t, root, {{"emb.tok_emb", kOfficial}, {"embed", kOfficial}, {"embed_tokens", kHuggingFace}}, Slot::kEmbed);
  add(t, root, {{"main_proj", kBoth}}, Slot::kMainProj);
  add(t, root, {{"main_norm", kBoth}}, Slot::kMainNorm);
  add(t, root, {{"markov_head.markov_w1", kBoth}}, Slot::kMarkovW1);
  add(t, root, {{"markov_head.markov_w2", kBoth}}, Slot::kMarkovW2);
  add(t, root, {{"confidence_head.proj", kBoth}}, Slot::kConfidenceProj);
  return t;
}

struct Tables {
  Lookup top = top_table();
  Lookup layer = block_table();
  Lookup drafter = drafter_table();
};
const Tables& tables() {
  static const Tables t;
  return t;
}

bool eat(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// What torch.compile, DataParallel, PEFT and multimodal models put before the model's own names.
bool eat_wrapper(std::string_view& name) {
  return eat(name, "_orig_mod.") || eat(name, "module.") || eat(name, "base_model.model.") ||
         eat(name, "language_model.");
}

// What activation checkpointing, FSDP, torch.compile and PEFT put between the pieces of a name. Empty where nothing is.
std::string without_inner_wrappers(std::string_view name) {
  std::string out;
  for (const std::string_view piece :
       {"._checkpoint_wrapped_module.", "._fsdp_wrapped_module.", "._orig_mod.", ".base_layer."}) {
    std::size_t at = (out.empty() ? name : std::string_view(out)).find(piece);
    while (at != std::string::npos) {
      if (out.empty()) out = name;
      out.replace(at, piece.size(), ".");
      at = out.find(piece, at);
    }
  }
  return out;
}

// "17." → 17. Leading zeros are another name, not another spelling of the same number.
std::optional<std::uint32_t> eat_number(std::string_view& text) {
  std::uint32_t value = 0;
  std::size_t length = 0;
  while (length < text.size() && length < 9 && text[length] >= '0' && text[length] <= '9') {
    value = value * 10 + static_cast<std::uint32_t>(text[length++] - '0');
  }
  if (length == 0 || length == text.size() || text[length] != '.' || (length > 1 && text[0] == '0'))
    return std::nullopt;
  text.remove_prefix(length + 1);
  return value;
}

void note(DialectEvidence& evidence, std::uint8_t dialect) {
  evidence.official |= (dialect & kOfficial) != 0;
  evidence.hugging_face |= (dialect & kHuggingFace) != 0;
  evidence.renamed |= (dialect & kRenamed) != 0;
  evidence.variant |= (dialect & kVariant) != 0;
}

// `rest` is what follows "layers.N." or "mtp.N.".
void parse_routed_expert(std::string_view rest, TensorName& out) {
  const std::optional<std::uint32_t> expert = eat_number(rest);
  if (!expert || *expert > 1'000'000) return;
  struct Leaf {
    std::string_view text;
    Slot slot;
    std::uint8_t dialect;
  };
  static constexpr Leaf kLeaves[] = {
      {"w1.", Slot::kExpertW1, kOfficial},           {"w2.", Slot::kExpertW2, kOfficial},
      {"w3.", Slot::kExpertW3, kOfficial},           {"gate_proj.", Slot::kExpertW1, kHuggingFace},
      {"down_proj.", Slot::kExpertW2, kHuggingFace}, {"up_proj.", Slot::kExpertW3, kHuggingFace},
  };
  for (const Leaf& leaf : kLeaves) {
    if (!eat(rest, leaf.text)) continue;
    const std::optional<Component> component = component_with_suffix(rest);
    if (!component) return;
    out.kind = TensorName::Kind::kParameter;
    out.slot = leaf.slot;
    out.expert = static_cast<std::int32_t>(*expert);
    out.component = *component;
    note(out.dialect, leaf.dialect);
    return;
  }
}

bool parse_from(const Lookup& table, std::string_view rest, TensorName& out) {
  const auto found = [&](const Entry& entry, Component component) {
    out.kind = TensorName::Kind::kParameter;
    out.slot = entry.slot;
    out.part = entry.part;
    out.component = component;
    note(out.dialect, entry.dialect);
    return true;
  };
  if (const auto whole = table.find(rest); whole != table.end() && whole->second.bare) {
    return found(whole->second, whole->second.component);
  }
  const std::size_t dot = rest.rfind('.');
  if (dot == std::string_view::npos) return false;
  const auto module = table.find(rest.substr(0, dot));
  if (module == table.end() || module->second.bare) return false;
  const std::optional<Component> component = component_with_suffix(rest.substr(dot + 1));
  return component && found(module->second, *component);
}

// A save that took a tensor apart by rows: "…shared_experts.96.w2.weight", also with a doubled ".weight".
bool is_exploded(std::string_view rest) {
  for (const std::string_view container : {"ffn.shared_experts.", "mlp.shared_experts."}) {
    std::string_view text = rest;
    if (eat(text, container) && eat_number(text)) return true;
  }
  return rest.ends_with(".weight.weight");
}

bool is_vision(std::string_view name) {
  return name.starts_with("vision.") || name.starts_with("vision_") || name.starts_with("aligner.") ||
         name.starts_with("image_") || name.ends_with(".ffn.gate.bias_vl") || name.ends_with(".mlp.gate.bias_vl");
}

bool is_rotary_cache(std::string_view rest) {
  return rest == "rotary_emb.inv_freq" || rest.ends_with(".rotary_emb.inv_freq") || rest == "freqs_cis" ||
         rest.ends_with(".freqs_cis");
}

// vLLM's (attn.k_scale), compressed-tensors' (k_proj.output_scale), modelopt's (k_proj.k_scale) and ModelSlim's
// (kv_cache_scale) scales of the KV cache, all below a block's attention.
bool is_kv_cache_scale(std::string_view rest) {
  if (!rest.starts_with("attn.") && !rest.starts_with("self_attn.")) return false;
  const std::string_view leaf = rest.substr(rest.rfind('.') + 1);
  for (const std::string_view known :
       {"k_scale", "v_scale", "kv_scale", "q_scale", "prob_scale", "output_scale", "k_zero_point", "v_zero_point",
        "kv_cache_scale", "kv_cache_offset", "k_cache_scale", "v_cache_scale"}) {
    if (leaf == known) return true;
  }
  return false;
}

// A name without inner wrappers.
TensorName parse_unwrapped(std::string_view name, std::uint64_t num_hidden_layers, bool dspark) {
  TensorName out;
  std::string_view rest = name;
  while (eat_wrapper(rest)) out.dialect.variant = true;
  out.dialect.model_prefix = eat(rest, "model.");
  while (eat_wrapper(rest)) out.dialect.variant = true;
  if (is_vision(rest)) {
    out.kind = TensorName::Kind::kVision;
    return out;
  }
  const Lookup* table = &tables().top;
  const bool in_layers = eat(rest, "layers.");
  if (in_layers || eat(rest, "mtp.")) {
    if (!in_layers && eat(rest, "layers.")) out.dialect.variant = true;
    const std::optional<std::uint32_t> index = eat_number(rest);
    if (!index) return out;
    out.block = {in_layers ? BlockKind::kLayer : dspark ? BlockKind::kDspark : BlockKind::kMtp, *index};
    if (in_layers && *index >= num_hidden_layers && *index < num_hidden_layers + 64) {
      out.block = {BlockKind::kMtp, *index - static_cast<std::uint32_t>(num_hidden_layers)};
      out.dialect.v3_mtp = true;
    }
    table = out.block.kind == BlockKind::kLayer ? &tables().layer : &tables().drafter;
    if (rest.starts_with("engram.")) {
      out.kind = TensorName::Kind::kEngram;
      return out;
    }
    std::string_view expert = rest;
    const bool official = eat(expert, "ffn.experts.");
    if (official || eat(expert, "mlp.experts.")) {
      if (eat(expert, ".")) out.dialect.variant = true;  // transformers 5.8 writes two dots
      parse_routed_expert(expert, out);
      if (out.kind == TensorName::Kind::kParameter) {
        note(out.dialect, official ? kOfficial : kHuggingFace);
        return out;
      }
    }
  }
  if (parse_from(*table, rest, out)) return out;
  if (out.block.kind != BlockKind::kTop && is_exploded(rest)) out.kind = TensorName::Kind::kExploded;
  if (is_rotary_cache(rest)) out.kind = TensorName::Kind::kRotaryCache;
  if (out.block.kind != BlockKind::kTop && is_kv_cache_scale(rest)) out.kind = TensorName::Kind::kKvCacheScale;
  return out;
}

}  // namespace

std::string_view without_prefixes(std::string_view name) {
  while (eat_wrapper(name) || eat(name, "model.")) {
  }
  return name;
}

TensorName parse_tensor_name(std::string_view name, std::uint64_t num_hidden_layers, bool dspark) {
  const TensorName out = parse_unwrapped(name, num_hidden_layers, dspark);
  const std::string unwrapped = out.kind == TensorName::Kind::kUnknown ? without_inner_wrappers(name) : "";
  if (unwrapped.empty()) return out;
  TensorName inner = parse_unwrapped(unwrapped, num_hidden_layers, dspark);
  inner.dialect.variant = true;
  return inner;
}

std::vector<TensorName> parse_tensor_names(std::span<const TensorInfo> tensors, std::uint64_t num_hidden_layers,
                                           bool dspark, ThreadPool& pool) {
  std::vector<TensorName> names(tensors.size());
  pool.ranges(names.size(), 1024, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      names[t] = parse_tensor_name(tensors[t].name, num_hidden_layers, dspark);
    }
  });
  return names;
}

std::string tensor_name(const Parameter& parameter, Component component, bool hugging_face, bool model_prefix) {
  const Block& block = parameter.block;
  const ParameterSpec& spec = parameter.spec();
  std::string name(hugging_face ? spec.hugging_face : spec.official_name(block.kind));
  if (parameter.expert >= 0) name = fmt::format(fmt::runtime(name), parameter.expert);
  if (component != Component::kWeight) {
    name = name.substr(0, name.size() - std::string_view("weight").size()).append(component_suffix(component));
  }
  const std::string prefix = block.kind == BlockKind::kTop ? "" : block_name(block) + ".";
  const bool head = block.kind == BlockKind::kTop && parameter.slot == Slot::kHead;
  return (model_prefix && !head ? "model." : "") + prefix + name;
}

}  // namespace outrider
