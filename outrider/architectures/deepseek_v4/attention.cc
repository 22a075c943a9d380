#include <vector>

#include "outrider/architectures/deepseek_v4/block.h"

namespace outrider {
namespace {

Compressor compressor(const ModelConfig& config, const CompressorWeights& weights, const LayerRope& rope) {
  return {.ratio = weights.ratio,
          .overlaps = weights.overlaps,
          .ape = weights.ape,
          .norm = weights.norm,
          .norm_eps = static_cast<float>(config.rms_norm_eps),
          .rope = rope.rope};
}

// W x for a compressor's two projections.
void project(const CompressorWeights& weights, const Rows& x, Rows& kv, Rows& gate, std::vector<Product>& products) {
  for (Rows* y : {&kv, &gate}) y->reshape(x.rows(), weights.wkv.rows());
  products.push_back({weights.wkv, x, kv, ProductKind::kFloat});
  products.push_back({weights.wgate, x, gate, ProductKind::kFloat});
}

// All products with x.
void project(const BlockWeights& weights, const ForwardContext& context) {
  const auto& [config, backend, a] = context;
  std::vector<Product> products = {{weights.wq_a, a.x, a.qr}, {weights.wkv, a.x, a.kv}};
  if (weights.compressor) project(*weights.compressor, a.x, a.compressor_kv, a.compressor_gate, products);
  if (weights.indexer) {
    products.push_back({weights.indexer->weights_proj, a.x, a.index_weights, ProductKind::kUnroundedIn});
    project(weights.indexer->compressor, a.x, a.index_kv, a.index_gate, products);
  }
  backend.multiply(products);
}

// The entries whose windows the batch completes, and the entries that each row attends to.
void compress(const ForwardContext& context, const BlockWeights& weights, const Batch& batch, const LayerRope& rope) {
  const auto& [config, backend, a] = context;
  if (weights.compressor) {
    backend.compress(compressor(config, *weights.compressor, rope), batch, a.compressor_kv, a.compressor_gate);
  }
  if (!weights.indexer) return;
  Compressor of_index = compressor(config, weights.indexer->compressor, rope);
  of_index.rounding = KeyRounding::kFp4;
  of_index.state = &Chunk::indexer;
  backend.compress(of_index, batch, a.index_kv, a.index_gate);

  backend.split_heads(a.index_flat, a.index_q);
  backend.rope(rope.cos_sin, false, a.index_q);
  backend.round_keys(KeyRounding::kFp4, config.qk_rope_head_dim, a.index_q);
  backend.index(of_index.ratio, batch, a.index_q, a.index_weights, a.index_scores, a.selected);
}

// The heads of o side by side, in groups: each group has its own rows of wo_a.
void multiply_by_group(const ForwardContext& context, const Linear& wo_a) {
  const auto& [config, backend, a] = context;
  const std::size_t rows = config.o_lora_rank;
  std::vector<Product> products;
  for (std::size_t g = 0; g < config.o_groups; ++g) {
    products.push_back({.weight = wo_a,
                        .x = a.flat,
                        .y = a.low,
                        .kind = ProductKind::kUnroundedIn,
                        .first = g * rows,
                        .rows = rows,
                        .x_col = g * wo_a.cols(),
                        .y_col = g * rows});
  }
  backend.multiply(products);
}

}  // namespace

void finish_keys(const ForwardContext& context, const BlockWeights& weights, const LayerRope& rope) {
  const auto& [config, backend, a] = context;
  backend.rms_norm(weights.kv_norm, static_cast<float>(config.rms_norm_eps), a.kv);
  backend.rope(rope.cos_sin, false, a.kv);
  backend.round_keys(KeyRounding::kFp8, config.qk_rope_head_dim, a.kv);
}

void attention(const ForwardContext& context, const BlockWeights& weights, const Batch& batch, const LayerRope& rope,
               Visibility visibility) {
  const auto& [config, backend, a] = context;
  const auto eps = static_cast<float>(config.rms_norm_eps);
  project(weights, context);

  backend.rms_norm(weights.q_norm, eps, a.qr);
  if (weights.indexer) {
    backend.multiply({{weights.wq_b, a.qr, a.flat}, {weights.indexer->wq_b, a.qr, a.index_flat}});
  } else {
    backend.multiply(weights.wq_b, a.qr, a.flat);
  }
  backend.split_heads(a.flat, a.q);
  backend.head_norm(eps, a.q);
  backend.rope(rope.cos_sin, false, a.q);

  finish_keys(context, weights, rope);
  compress(context, weights, batch, rope);
  backend.attend({.window = config.sliding_window,
                  .ratio = weights.attention.compress_ratio,
                  .sink = weights.attn_sink,
                  .selected = weights.indexer ? &a.selected : nullptr,
                  .bidirectional = visibility == Visibility::kWholeChunk},
                 batch, a.q, a.kv, a.o);
  if (visibility == Visibility::kCausal) backend.store_keys(batch, a.kv);

  backend.rope(rope.cos_sin, true, a.o);
  backend.merge_heads(a.o, a.flat);
  multiply_by_group(context, weights.wo_a);
  backend.multiply(weights.wo_b, a.low, a.y);
}

}  // namespace outrider
