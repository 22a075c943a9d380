#include "outrider/architectures/deepseek_v4/block.h"

#include <algorithm>
#include <cmath>

#include "outrider/architectures/deepseek_v4/hyper_connection.h"

namespace outrider {

void Chunk::load(const Rows& rows_of_batch, const RowStore& ring, std::uint64_t position, float* out) const {
  if (position >= start) {
    std::copy_n(rows_of_batch[first_row + (position - start)].data(), ring.cols(), out);
  } else {
    ring.load(position % ring.rows(), out);
  }
}

void Chunk::keep(const Rows& rows_of_batch, RowStore& ring) const {
  for (std::size_t i = rows - std::min(rows, ring.rows()); i < rows; ++i) {
    ring.store((start + i) % ring.rows(), rows_of_batch[first_row + i]);
  }
}

void rms_norm(const Compute& compute, std::span<const float> weight, double eps, Rows& x) {
  for (std::size_t t = 0; t < x.rows(); ++t) {
    const std::span<float> row = x[t];
    const float mean = compute.dot(row.data(), row.data(), x.stride()) / static_cast<float>(row.size());
    const float factor = 1.0F / std::sqrt(mean + static_cast<float>(eps));
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = weight[i] * (row[i] * factor);
    compute.round(row);
  }
}

void run_block(const Compute& compute, const ModelConfig& config, const BlockWeights& weights, const Batch& batch,
               Rows& streams) {
  Mixing mixing;
  Rows x = hc_pre(compute, config, weights.hc_attn, streams, mixing);
  rms_norm(compute, weights.attn_norm, config.rms_norm_eps, x);
  x = attention(compute, config, weights, batch, x);
  hc_post(compute, config, x, mixing, streams);

  x = hc_pre(compute, config, weights.hc_ffn, streams, mixing);
  rms_norm(compute, weights.ffn_norm, config.rms_norm_eps, x);
  x = mixture_of_experts(compute, config, weights, batch.tokens, x);
  hc_post(compute, config, x, mixing, streams);
}

}  // namespace outrider
