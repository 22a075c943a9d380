#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "outrider/architectures/deepseek_v4/model_weights.h"
#include "outrider/architectures/deepseek_v4/sequence.h"
#include "outrider/backend/cpu/multiply.h"

namespace outrider {

// Consecutive tokens of one sequence among the rows of a batch, as one layer sees them.
struct Chunk {
  LayerState* state = nullptr;
  std::size_t first_row = 0;
  std::size_t rows = 0;
  std::uint64_t start = 0;  // position of the first

  // The vector at `position`: of the batch where the chunk covers it, else of the ring that remembers it.
  void load(const Rows& rows_of_batch, const RowStore& ring, std::uint64_t position, float* out) const;
  // Writes the chunk's rows into the ring, the last ones where it does not hold all.
  void keep(const Rows& rows_of_batch, RowStore& ring) const;
};

// A batch on its way through the layers. Each row is a token; chunks cover the rows in order. What a row comes to
// depends on nothing but its sequence up to itself: not on the other chunks, nor on how the sequence was cut into them.
struct Batch {
  std::span<const Chunk> chunks;
  std::span<const std::uint32_t> tokens;     // by row
  std::span<const std::uint64_t> positions;  // by row
  const Rows* cos_sin = nullptr;             // by row: the rotation of its position, for this layer's kind
  // For compressed layers: the rotation of any position.
  const class Rope* rope = nullptr;
};

// The parts of a block; x and what they return are [rows, D].

// RMS norm of x[row] with a weight; in official numerics rounded to BF16.
void rms_norm(const Compute& compute, std::span<const float> weight, double eps, Rows& x);

Rows attention(const Compute& compute, const ModelConfig& config, const BlockWeights& weights, const Batch& batch,
               const Rows& x);

// Projections of a batch for a compressor: [rows, width] each.
struct CompressorInputs {
  CompressorInputs(const CompressorWeights& weights, std::size_t rows)
      : kv(rows, weights.wkv.rows()), gate(rows, weights.wkv.rows()) {}
  void add_products(const CompressorWeights& weights, const Rows& x, std::vector<Product>& products) {
    products.push_back({weights.wkv, x, kv, ProductKind::kFloat});
    products.push_back({weights.wgate, x, gate, ProductKind::kFloat});
  }

  Rows kv;
  Rows gate;
};

// Writes the keys and values of the batch's finished windows into the entries of each chunk's state. `state` picks the
// compressor's or the indexer's.
void compress(const Compute& compute, const ModelConfig& config, const CompressorWeights& weights, const Batch& batch,
              CompressorInputs& inputs, std::optional<CompressorState> LayerState::*state);

// By row: the entries that the row's query attends to, in the order in which they are summed. `queries` are wq_b's,
// `head_weights` weights_proj's output.
std::vector<std::vector<std::uint32_t>> index_entries(const Compute& compute, const ModelConfig& config,
                                                      const IndexerWeights& weights, const Batch& batch,
                                                      const Rows& queries, Rows& head_weights);

Rows mixture_of_experts(const Compute& compute, const ModelConfig& config, const BlockWeights& weights,
                        std::span<const std::uint32_t> tokens, const Rows& x);

// A whole block: streams [rows, hc*D] in and out.
void run_block(const Compute& compute, const ModelConfig& config, const BlockWeights& weights, const Batch& batch,
               Rows& streams);

}  // namespace outrider
