#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/checkpoint/number_formats.h"
#include "outrider/math/rope.h"

namespace outrider {
namespace {

// Slots that share a running maximum; where weights are rounded, the result depends on it.
constexpr std::size_t kSlotBlock = 64;
constexpr std::size_t kWorkOfAThread = 1 << 17;

// Queries, one head a row: [rows * H, head_dim]. `flat`: wq_b's output.
Rows make_queries(const Compute& compute, const ModelConfig& config, const Batch& batch, const Rows& flat) {
  const std::size_t heads = config.num_attention_heads;
  const std::size_t dim = config.head_dim;
  Rows q(flat.rows() * heads, dim);
  const auto eps = static_cast<float>(config.rms_norm_eps);
  compute.pool.ranges(flat.rows(), 8, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin * heads; r < end * heads; ++r) {
      const std::span<float> head = q[r];
      std::copy_n(flat[r / heads].data() + r % heads * dim, dim, head.data());
      float mean = 0.0F;
      if (compute.official()) {
        // The release takes this norm in BF16, step by step.
        float sum = 0.0F;
        for (const float v : head) sum += round_to_bf16(v * v);
        mean = round_to_bf16(sum / static_cast<float>(dim));
      } else {
        mean = compute.dot(head.data(), head.data(), q.stride()) / static_cast<float>(dim);
      }
      float shifted = mean + eps;
      compute.round({&shifted, 1});
      float factor = 1.0F / std::sqrt(shifted);
      compute.round({&factor, 1});
      for (float& v : head) v *= factor;
      compute.round(head);
      rotate(head, (*batch.cos_sin)[r / heads]);
      compute.round(head);
    }
  });
  return q;
}

// `kv`: wkv's output.
void make_keys(const Compute& compute, const ModelConfig& config, const BlockWeights& weights, const Batch& batch,
               Rows& kv) {
  rms_norm(compute, weights.kv_norm, config.rms_norm_eps, kv);
  for (std::size_t t = 0; t < kv.rows(); ++t) {
    rotate(kv[t], (*batch.cos_sin)[t]);
    compute.round(kv[t]);
    if (compute.official()) round_through_fp8(kv[t].first(config.head_dim - config.qk_rope_head_dim), kKeyBlock);
  }
}

// What one row's query looks at: positions of the window, then compressed entries.
struct Visible {
  std::uint64_t first_position = 0;
  std::size_t positions = 0;
  std::span<const std::uint32_t> chosen;  // entries by the indexer
  std::size_t all_entries = 0;            // or all of the first so many
  std::size_t entries() const { return chosen.empty() ? all_entries : chosen.size(); }
};

// Attention of some heads of one row, with an online softmax over blocks of slots. The window takes as many slots at
// every position, used or not, so that blocks are cut alike however the sequence came here.
class RowAttention {
 public:
  RowAttention(const Compute& compute, const ModelConfig& config, const BlockWeights& weights, const Rows& q,
               const Rows& kv)
      : compute_(compute),
        config_(config),
        weights_(weights),
        q_(q),
        kv_(kv),
        keys_(kSlotBlock, config.head_dim),
        scores_(kSlotBlock * config.num_attention_heads) {}

  void run(const Chunk& chunk, std::size_t row, const Visible& visible, std::size_t first_head, std::size_t end_head,
           Rows& out) {
    const std::size_t heads = end_head - first_head;
    const std::size_t window = config_.sliding_window;
    max_.assign(heads, -INFINITY);
    sum_.assign(heads, 0.0F);
    first_query_ = row * config_.num_attention_heads + first_head;
    for (std::size_t slot = 0; slot < window + visible.entries(); slot += kSlotBlock) {
      if (slot >= visible.positions && slot + kSlotBlock <= window) {
        slot = (window - 1) / kSlotBlock * kSlotBlock;  // what lies between is not used
      }
      std::size_t count = 0;
      for (std::size_t s = slot; s < std::min(slot + kSlotBlock, window + visible.entries()); ++s) {
        if (s < window) {
          if (s >= visible.positions) continue;
          chunk.load(kv_, chunk.state->window, visible.first_position + s, keys_[count++].data());
        } else {
          const std::size_t e = visible.chosen.empty() ? s - window : visible.chosen[s - window];
          chunk.state->compressor->entries.load(e, keys_[count++].data());
        }
      }
      if (count != 0) add_block(count, heads, out);
    }
    for (std::size_t h = 0; h < heads; ++h) {
      const float sum = sum_[h] + std::exp(weights_.attn_sink[first_head + h] - max_[h]);
      const std::span<float> o = out[first_query_ + h];
      for (float& v : o) v /= sum;
      compute_.round(o);
    }
  }

 private:
  void add_block(std::size_t count, std::size_t heads, Rows& out) {
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim)));
    for (std::size_t k = 0; k < count; k += kRowTile) {
      compute_.kernels.dot_rows(keys_[k].data(), std::min(kRowTile, count - k), q_[first_query_].data(), heads,
                                q_.stride(), q_.stride(), scores_.data() + k, 1, kSlotBlock);
    }
    for (std::size_t h = 0; h < heads; ++h) {
      float* scores = scores_.data() + h * kSlotBlock;
      float max = max_[h];
      for (std::size_t k = 0; k < count; ++k) max = std::max(max, scores[k] *= scale);
      const std::span<float> o = out[first_query_ + h];
      const float rescale = std::exp(max_[h] - max);
      for (float& v : o) v *= rescale;
      float sum = 0.0F;
      for (std::size_t k = 0; k < count; ++k) {
        float weight = std::exp(scores[k] - max);
        sum += weight;
        compute_.round({&weight, 1});
        compute_.kernels.add_scaled(weight, keys_[k].data(), keys_.cols(), o.data());
      }
      sum_[h] = sum_[h] * rescale + sum;
      max_[h] = max;
    }
  }

  const Compute& compute_;
  const ModelConfig& config_;
  const BlockWeights& weights_;
  const Rows& q_;
  const Rows& kv_;
  Rows keys_;
  std::vector<float> scores_;
  std::vector<float> max_;
  std::vector<float> sum_;
  std::size_t first_query_ = 0;
};

// [rows * H, head_dim]
Rows attend(const Compute& compute, const ModelConfig& config, const BlockWeights& weights, const Batch& batch,
            const Rows& q, const Rows& kv, std::span<const std::vector<std::uint32_t>> chosen) {
  const std::size_t heads = config.num_attention_heads;
  const std::uint64_t ratio = weights.attention.compress_ratio;
  Rows out(q.rows(), config.head_dim);
  std::vector<const Chunk*> chunk_of(kv.rows());
  for (const Chunk& chunk : batch.chunks) {
    std::fill_n(chunk_of.begin() + static_cast<std::ptrdiff_t>(chunk.first_row), chunk.rows, &chunk);
  }
  const std::size_t grain = kWorkOfAThread / (config.sliding_window * config.head_dim) + 1;
  compute.pool.ranges(q.rows(), grain, [&](std::size_t begin, std::size_t end) {
    RowAttention row_attention(compute, config, weights, q, kv);
    while (begin < end) {
      const std::size_t row = begin / heads;
      const std::size_t stop = std::min(end, (row + 1) * heads);
      const std::uint64_t seen = batch.positions[row] + 1;
      Visible visible;
      visible.positions = std::min<std::uint64_t>(seen, config.sliding_window);
      visible.first_position = seen - visible.positions;
      if (!chosen.empty()) {
        visible.chosen = chosen[row];
      } else if (ratio != 0) {
        visible.all_entries = seen / ratio;
      }
      row_attention.run(*chunk_of[row], row, visible, begin - row * heads, stop - row * heads, out);
      begin = stop;
    }
  });
  return out;
}

}  // namespace

Rows attention(const Compute& compute, const ModelConfig& config, const BlockWeights& weights, const Batch& batch,
               const Rows& x) {
  Rows qr(x.rows(), config.q_lora_rank);
  Rows kv(x.rows(), config.head_dim);
  std::optional<CompressorInputs> compressor;
  std::optional<CompressorInputs> index_compressor;
  Rows index_weights;
  std::vector<Product> products = {{weights.wq_a, x, qr}, {weights.wkv, x, kv}};
  if (weights.compressor) {
    compressor.emplace(*weights.compressor, x.rows()).add_products(*weights.compressor, x, products);
  }
  if (weights.indexer) {
    index_weights = Rows(x.rows(), config.index_n_heads);
    products.push_back({weights.indexer->weights_proj, x, index_weights, ProductKind::kUnroundedIn});
    const CompressorWeights& of_index = weights.indexer->compressor;
    index_compressor.emplace(of_index, x.rows()).add_products(of_index, x, products);
  }
  multiply(compute, products);
  rms_norm(compute, weights.q_norm, config.rms_norm_eps, qr);

  Rows flat(x.rows(), config.num_attention_heads * config.head_dim);
  Rows index_queries;
  products.clear();
  products.push_back({weights.wq_b, qr, flat});
  if (weights.indexer) {
    index_queries = Rows(x.rows(), config.index_n_heads * config.index_head_dim);
    products.push_back({weights.indexer->wq_b, qr, index_queries});
  }
  multiply(compute, products);
  const Rows q = make_queries(compute, config, batch, flat);
  make_keys(compute, config, weights, batch, kv);
  std::vector<std::vector<std::uint32_t>> chosen;
  if (compressor) compress(compute, config, *weights.compressor, batch, *compressor, &LayerState::compressor);
  if (index_compressor) {
    compress(compute, config, weights.indexer->compressor, batch, *index_compressor, &LayerState::indexer);
    chosen = index_entries(compute, config, *weights.indexer, batch, index_queries, index_weights);
  }
  Rows out = attend(compute, config, weights, batch, q, kv, chosen);

  for (const Chunk& chunk : batch.chunks) chunk.keep(kv, chunk.state->window);

  const std::size_t heads = config.num_attention_heads;
  const std::size_t groups = config.o_groups;
  const std::size_t group_size = heads * config.head_dim / groups;
  for (std::size_t r = 0; r < out.rows(); ++r) {
    const std::span<float> head = out[r];
    rotate(head, (*batch.cos_sin)[r / heads], true);
    compute.round(head);
    std::copy(head.begin(), head.end(), flat[r / heads].data() + r % heads * config.head_dim);
  }
  Rows low(x.rows(), groups * config.o_lora_rank);
  products.clear();
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t first = g * config.o_lora_rank;
    products.push_back({.weight = weights.wo_a,
                        .x = flat,
                        .y = low,
                        .kind = ProductKind::kUnroundedIn,
                        .first = first,
                        .rows = config.o_lora_rank,
                        .x_col = g * group_size,
                        .y_col = first});
  }
  multiply(compute, products);
  Rows y(x.rows(), config.hidden_size);
  multiply(compute, weights.wo_b, low, y, ProductKind::kLinear);
  return y;
}

}  // namespace outrider
