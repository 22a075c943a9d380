#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/manifest/quantization.h"

namespace outrider {

struct Architecture;

// How a layer attends to positions before its sliding window.
enum class AttentionType {
  kWindow,             // sliding_attention, ratio 0: the window only
  kCompressedSparse,   // compressed_sparse_attention (CSA): overlapping windows, an indexer picks the top-k
  kHeavilyCompressed,  // heavily_compressed_attention (HCA): all entries
};

struct LayerAttention {
  AttentionType type = AttentionType::kWindow;
  std::uint64_t compress_ratio = 0;  // tokens per compressed entry; 0 for kWindow

  bool compressed() const { return type != AttentionType::kWindow; }
};

// YaRN, applied on compressed layers only.
struct YarnScaling {
  double factor = 1;
  std::uint64_t original_max_position_embeddings = 0;
  double beta_fast = 32;
  double beta_slow = 1;
};

// The fields by which a release declares a DSpark drafter (V4-Flash-0731) instead of an MTP block.
struct DsparkConfig {
  std::uint64_t block_size = 0;   // rows of a round
  std::uint64_t noise_token = 0;  // of all rows but the first
  std::uint64_t markov_rank = 0;
  std::vector<std::uint64_t> target_layer_ids;  // layers whose output streams it reads
};

// A model's configuration under its Hugging Face names, whichever spelling it was read from.
struct ModelConfig {
  const Architecture* architecture = nullptr;  // the architecture whose reader read it
  std::uint64_t vocab_size = 0;
  std::uint64_t hidden_size = 0;
  std::uint64_t num_hidden_layers = 0;
  std::uint64_t num_attention_heads = 0;
  std::uint64_t head_dim = 0;
  std::uint64_t qk_rope_head_dim = 0;
  std::uint64_t q_lora_rank = 0;
  std::uint64_t o_groups = 0;
  std::uint64_t o_lora_rank = 0;
  std::uint64_t sliding_window = 0;
  std::uint64_t max_position_embeddings = 0;
  std::uint64_t n_routed_experts = 0;
  std::uint64_t n_shared_experts = 0;
  std::uint64_t num_experts_per_tok = 0;
  std::uint64_t moe_intermediate_size = 0;
  std::uint64_t hc_mult = 0;
  std::uint64_t hc_sinkhorn_iters = 0;
  std::uint64_t index_n_heads = 0;  // 0 if no layer has an indexer
  std::uint64_t index_head_dim = 0;
  std::uint64_t index_topk = 0;
  std::uint64_t num_nextn_predict_layers = 0;
  double hc_eps = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;
  double compress_rope_theta = 0;
  double routed_scaling_factor = 0;
  double swiglu_limit = 0;
  bool norm_topk_prob = true;
  std::string scoring_func;
  std::optional<YarnScaling> yarn;
  std::vector<LayerAttention> layers;          // num_hidden_layers entries
  std::vector<bool> hash_layers;               // num_hidden_layers entries: experts are chosen by token id (tid2eid)
  std::vector<LayerAttention> drafter_layers;  // entries of compress_ratios after the last layer
  std::optional<DsparkConfig> dspark;
  std::optional<QuantizationConfig> quantization;

  // The releases' num_hash_layers: the number of leading hash-routed layers. nullopt if later layers are hash-routed
  // too.
  std::optional<std::uint64_t> num_hash_layers() const;
  // Rows and columns of an FP8 weight that share a scale: weight_block_size, 128 x 128 by default.
  std::array<std::uint64_t, 2> fp8_block() const;
};

struct ConfigIssue {
  enum class Kind {
    kMissing,        // a required field is missing
    kContradiction,  // two fields contradict each other
    kInvalid,        // a value has the wrong type, is out of range, or is not valid for this model
    kUnsupported,    // a model that Outrider does not run
  };
  Kind kind = Kind::kMissing;
  std::string field;        // Hugging Face's name, with the inference config's in parentheses: "hidden_size (dim)"
  std::string message;      // a sentence
  bool of_drafter = false;  // the model itself can be built nevertheless
  bool by_tensors = false;  // the tensors on disk determine the value, and the reader used it
};

enum class ConfigSpelling { kHuggingFace, kInference };

// Other properties of the config that help to recognise the artifact's family.
struct ConfigTraits {
  std::string model_type;
  std::string expert_dtype;
  std::string architecture;
  bool vision = false;  // vision_n_layers and the like
  bool engram = false;  // V4.1's nested text_config and engram_* fields
  bool has_scale_fmt = false;
  // Fields of the releases that are missing but replaced by those of transformers (layer_types, rope_parameters, …).
  std::vector<std::string> release_fields_lacking;
};

struct ConfigReading {
  ModelConfig config;
  ConfigTraits traits;
  ConfigSpelling spelling = ConfigSpelling::kHuggingFace;
  std::vector<ConfigIssue> issues;

  bool sound() const { return issues.empty(); }
  // Whether every field that a parameter's shape depends on was read, so that a manifest can be built although other
  // fields are missing or contradict each other.
  bool shapes_known = false;
  bool unsupported() const;
};

// Values determined from the tensors, used for fields that are missing in config.json. If one of the last three differs
// from the config, the reader uses it and adds an issue; nothing else overrides the config.
struct ConfigHints {
  std::vector<LayerAttention> layers;
  std::optional<std::vector<bool>> hash_layers;
  std::optional<std::uint64_t> num_nextn_predict_layers;
  std::optional<std::uint64_t> n_routed_experts;  // all routers and all experts agree on it
  // By layer; set if a complete compressor (and indexer) is present, which determines the kind of attention.
  std::vector<std::optional<LayerAttention>> certain_layers;
  std::optional<std::vector<bool>> certain_hash_layers;  // each layer has either a hash table or a router bias
};

// Returns the hints for a model with this number of layers (0: missing in config.json).
using HintSource = std::function<ConfigHints(std::uint64_t num_hidden_layers)>;

// Parses a config.json in either spelling with the reader of its architecture. Adds every missing field and every
// contradiction to `issues`. If a hint can replace a missing field, the reader uses it, and the issue gives the value
// to restore. `hints` is called once, unless the model is not supported. Throws Error if the text is not a JSON object
// (depth at most 64).
ConfigReading read_config(std::string_view json, const HintSource& hints = {});

std::string_view attention_type_name(AttentionType type);  // Hugging Face's layer_types entry

}  // namespace outrider
