#include <algorithm>
#include <cmath>
#include <vector>

#include "outrider/backend/cpu/cpu_backend.h"
#include "outrider/math/top_k.h"

namespace outrider {
namespace {

constexpr std::size_t kEntriesOfAThread = 256;

}  // namespace

void CpuBackend::index(std::size_t ratio, const Batch& batch, const Rows& q, Rows& weights, Rows& scores,
                       IndexRows& selected) {
  const std::size_t heads = weights.cols();
  const std::size_t dim = q.cols();
  const double scale = 1.0 / std::sqrt(static_cast<double>(dim)) / std::sqrt(static_cast<double>(heads));
  for (std::size_t t = 0; t < weights.rows(); ++t) {
    for (float& w : weights[t]) w *= static_cast<float>(scale);
    compute_.round(weights[t]);
  }
  for (const Chunk& chunk : batch.chunks) {
    const RowStore& entries = chunk.indexer->entries;
    for (std::size_t t = chunk.first_row; t < chunk.first_row + chunk.rows; ++t) {
      const std::span<float> visible = scores[0].first((batch.positions[t] + 1) / ratio);
      pool_.ranges(visible.size(), kEntriesOfAThread, [&](std::size_t begin, std::size_t end) {
        Rows keys(kRowTile, dim);
        std::vector<float> products(kRowTile * heads);
        for (std::size_t e = begin; e < end; e += kRowTile) {
          const std::size_t count = std::min(kRowTile, end - e);
          for (std::size_t i = 0; i < count; ++i) entries.load(e + i, keys[i].data());
          compute_.kernels.dot_rows(keys.data(), count, q[t * heads].data(), heads, q.stride(), q.stride(),
                                    products.data(), heads, 1);
          for (std::size_t i = 0; i < count; ++i) {
            float sum = 0.0F;
            for (std::size_t h = 0; h < heads; ++h) {
              float score = products[i * heads + h];
              compute_.round({&score, 1});
              score = std::max(score, 0.0F) * weights[t][h];
              compute_.round({&score, 1});
              sum += score;
            }
            compute_.round({&sum, 1});
            visible[e + i] = sum;
          }
        }
      });
      std::ranges::copy(top_k(visible, selected.cols()), selected[t].begin());
    }
  }
}

}  // namespace outrider
