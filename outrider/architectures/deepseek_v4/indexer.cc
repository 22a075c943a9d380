#include <algorithm>
#include <cmath>

#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/math/rope.h"
#include "outrider/math/top_k.h"

namespace outrider {
namespace {

constexpr std::size_t kEntriesOfAThread = 256;

}  // namespace

std::vector<std::vector<std::uint32_t>> index_entries(const Compute& compute, const ModelConfig& config,
                                                      const IndexerWeights& weights, const Batch& batch,
                                                      const Rows& queries, Rows& head_weights) {
  const std::size_t heads = config.index_n_heads;
  const std::size_t dim = config.index_head_dim;
  Rows q(queries.rows() * heads, dim);
  for (std::size_t t = 0; t < queries.rows(); ++t) {
    for (std::size_t h = 0; h < heads; ++h) {
      const std::span<float> head = q[t * heads + h];
      std::copy_n(queries[t].data() + h * dim, dim, head.data());
      rotate(head, (*batch.cos_sin)[t]);
      if (!compute.official()) continue;
      round_to_bf16(head);
      hadamard(head);
      round_to_bf16(head);
      round_through_fp4(head, kIndexBlock);
    }
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim)) / std::sqrt(static_cast<double>(heads));
  for (std::size_t t = 0; t < queries.rows(); ++t) {
    for (float& w : head_weights[t]) w *= static_cast<float>(scale);
    compute.round(head_weights[t]);
  }

  std::vector<std::vector<std::uint32_t>> chosen(queries.rows());
  std::vector<float> scores;
  for (const Chunk& chunk : batch.chunks) {
    const RowStore& entries = chunk.state->indexer->entries;
    for (std::size_t t = chunk.first_row; t < chunk.first_row + chunk.rows; ++t) {
      scores.assign((batch.positions[t] + 1) / weights.compressor.ratio, 0.0F);
      compute.pool.ranges(scores.size(), kEntriesOfAThread, [&](std::size_t begin, std::size_t end) {
        Rows keys(kRowTile, dim);
        std::vector<float> products(kRowTile * heads);
        for (std::size_t e = begin; e < end; e += kRowTile) {
          const std::size_t count = std::min(kRowTile, end - e);
          for (std::size_t i = 0; i < count; ++i) entries.load(e + i, keys[i].data());
          compute.kernels.dot_rows(keys.data(), count, q[t * heads].data(), heads, q.stride(), q.stride(),
                                   products.data(), heads, 1);
          for (std::size_t i = 0; i < count; ++i) {
            float sum = 0.0F;
            for (std::size_t h = 0; h < heads; ++h) {
              float score = products[i * heads + h];
              compute.round({&score, 1});
              score = std::max(score, 0.0F) * head_weights[t][h];
              compute.round({&score, 1});
              sum += score;
            }
            compute.round({&sum, 1});
            scores[e + i] = sum;
          }
        }
      });
      chosen[t] = top_k(scores, config.index_topk);
    }
  }
  return chosen;
}

}  // namespace outrider
