#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "outrider/backend/backend.h"
#include "outrider/binding/weights.h"

namespace outrider {

// A model's parameters as the forward pass reads them: matrices stay in the mapped files; vectors (norms, biases,
// sinks, position biases, hc bases and scales) are widened to float. These are the only copies: see copied_bytes().

struct HyperConnectionWeights {
  Linear fn;                 // [(2+hc)*hc, hc*D]; in the head [hc, hc*D]
  std::vector<float> base;   // [rows of fn]
  std::vector<float> scale;  // [3]; in the head [1]
};

struct CompressorWeights {
  std::size_t ratio = 0;    // tokens per entry
  bool overlaps = false;    // CSA: an entry also covers part of the preceding window
  std::size_t dim = 0;      // values per entry
  std::vector<float> ape;   // [ratio, width]; width = dim, or 2*dim if windows overlap
  Linear wkv;               // [width, D]
  Linear wgate;             // [width, D]
  std::vector<float> norm;  // [dim]
};

struct IndexerWeights {
  Linear wq_b;          // [index_n_heads * index_head_dim, q_lora_rank]
  Linear weights_proj;  // [index_n_heads, D]
  CompressorWeights compressor;
};

// Attention and mixture of experts of one layer, MTP block or DSpark stage.
struct BlockWeights {
  LayerAttention attention;
  std::vector<float> attn_norm;  // [D]
  std::vector<float> ffn_norm;   // [D]
  HyperConnectionWeights hc_attn;
  HyperConnectionWeights hc_ffn;
  Linear wq_a;                   // [q_lora_rank, D]
  std::vector<float> q_norm;     // [q_lora_rank]
  Linear wq_b;                   // [H*head_dim, q_lora_rank]
  Linear wkv;                    // [head_dim, D]
  std::vector<float> kv_norm;    // [head_dim]
  std::vector<float> attn_sink;  // [H]
  Linear wo_a;                   // [o_groups*o_lora_rank, H*head_dim/o_groups]
  Linear wo_b;                   // [D, o_groups*o_lora_rank]
  std::optional<CompressorWeights> compressor;
  std::optional<IndexerWeights> indexer;
  Linear gate;                         // [E, D]
  std::vector<float> gate_bias;        // [E]; empty in hash-routed layers
  std::vector<std::uint32_t> tid2eid;  // [V, K]; empty if experts are chosen by score
  std::vector<ExpertWeights> experts;  // [E]
  ExpertWeights shared_experts;
};

struct MtpWeights {
  BlockWeights block;
  Linear e_proj;             // [D, D]
  Linear h_proj;             // [D, D]
  std::vector<float> enorm;  // [D]
  std::vector<float> hnorm;  // [D]
  std::vector<float> norm;   // [D]
  HyperConnectionWeights hc_head;
  Linear embed;  // its own or the model's
  Linear head;
};

// A DSpark drafter. V vocabulary, r rank of the Markov head, n number of target layers.
struct DsparkWeights {
  std::vector<BlockWeights> stages;
  Linear main_proj;              // [D, n*D]
  std::vector<float> main_norm;  // [D]
  std::vector<float> norm;       // [D]
  HyperConnectionWeights hc_head;
  Linear markov_w1;   // [V, r]
  Linear markov_w2;   // [V, r]
  Linear confidence;  // [1, D+r]
  Linear embed;       // the first stage's own or the model's
  Linear head;        // the last stage's own or the model's
};

struct ModelWeights {
  // Throws Error if a table holds an index that is out of range (an expert in tid2eid, a group in weight_g_idx).
  explicit ModelWeights(std::shared_ptr<const Weights> weights);

  const ModelConfig& config() const { return source->plan().manifest().config(); }

  std::shared_ptr<const Weights> source;
  Linear embed;             // [V, D]
  Linear head;              // [V, D]
  std::vector<float> norm;  // [D]
  HyperConnectionWeights hc_head;
  std::vector<BlockWeights> layers;
  std::vector<MtpWeights> mtp;
  std::optional<DsparkWeights> dspark;
  std::uint64_t copied_bytes = 0;  // bytes held in memory beside the mapped files
};

}  // namespace outrider
