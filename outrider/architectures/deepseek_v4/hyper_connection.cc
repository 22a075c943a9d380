#include "outrider/architectures/deepseek_v4/hyper_connection.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace outrider {
namespace {

float sigmoid(float x) {
  return 1.0F / (1.0F + std::exp(-x));
}

// Rows of a batch that one thread takes at least.
constexpr std::size_t kGrain = 8;

// fn applied to all streams of a row, after their common RMS norm. [rows, rows of fn]
Rows mixing_scores(const Compute& compute, const ModelConfig& config, const HyperConnectionWeights& weights,
                   const Rows& streams) {
  Rows scores(streams.rows(), weights.fn.rows());
  multiply(compute, weights.fn, streams, scores, ProductKind::kFloat);
  const auto eps = static_cast<float>(config.rms_norm_eps);
  for (std::size_t t = 0; t < streams.rows(); ++t) {
    const float* z = streams[t].data();
    const float mean = compute.dot(z, z, streams.stride()) / static_cast<float>(streams.cols());
    const float factor = 1.0F / std::sqrt(mean + eps);
    for (float& v : scores[t]) v *= factor;
  }
  return scores;
}

// x[row] = sum of the row's streams, each times its weight.
void mix(const Compute& compute, const Rows& streams, std::span<const float> weights, std::size_t row, Rows& x) {
  const std::size_t size = x.cols();
  const std::span<float> out = x[row];
  const float* stream = streams[row].data();
  for (std::size_t i = 0; i < size; ++i) {
    float sum = weights[0] * stream[i];
    for (std::size_t j = 1; j < weights.size(); ++j) sum += weights[j] * stream[j * size + i];
    out[i] = sum;
  }
  compute.round(out);
}

}  // namespace

void sinkhorn(std::span<float> comb, std::size_t hc, std::uint64_t iterations, float eps) {
  for (std::size_t j = 0; j < hc; ++j) {
    const std::span<float> row = comb.subspan(j * hc, hc);
    const float max = *std::max_element(row.begin(), row.end());
    float sum = 0.0F;
    for (float& v : row) sum += v = std::exp(v - max);
    for (float& v : row) v = v / sum + eps;
  }
  const auto divide = [&](std::size_t line, std::size_t step) {  // the values line, line + step, …
    float sum = 0.0F;
    for (std::size_t i = 0; i < hc; ++i) sum += comb[line + i * step];
    for (std::size_t i = 0; i < hc; ++i) comb[line + i * step] /= sum + eps;
  };
  for (std::size_t k = 0; k < hc; ++k) divide(k, hc);
  for (std::uint64_t i = 1; i < iterations; ++i) {
    for (std::size_t j = 0; j < hc; ++j) divide(j * hc, 1);
    for (std::size_t k = 0; k < hc; ++k) divide(k, hc);
  }
}

Rows hc_pre(const Compute& compute, const ModelConfig& config, const HyperConnectionWeights& weights,
            const Rows& streams, Mixing& mixing) {
  const std::size_t hc = config.hc_mult;
  const auto eps = static_cast<float>(config.hc_eps);
  const Rows scores = mixing_scores(compute, config, weights, streams);
  mixing = {Rows(streams.rows(), hc), Rows(streams.rows(), hc * hc)};
  Rows x(streams.rows(), config.hidden_size);
  compute.pool.ranges(streams.rows(), kGrain, [&](std::size_t begin, std::size_t end) {
    std::vector<float> pre(hc);
    for (std::size_t t = begin; t < end; ++t) {
      const std::span<const float> m = scores[t];
      for (std::size_t j = 0; j < hc; ++j) {
        pre[j] = sigmoid(m[j] * weights.scale[0] + weights.base[j]) + eps;
        mixing.post[t][j] = 2.0F * sigmoid(m[hc + j] * weights.scale[1] + weights.base[hc + j]);
      }
      const std::span<float> comb = mixing.comb[t];
      for (std::size_t i = 0; i < hc * hc; ++i) {
        comb[i] = m[2 * hc + i] * weights.scale[2] + weights.base[2 * hc + i];
      }
      sinkhorn(comb, hc, config.hc_sinkhorn_iters, eps);
      mix(compute, streams, pre, t, x);
    }
  });
  return x;
}

void hc_post(const Compute& compute, const ModelConfig& config, const Rows& x, const Mixing& mixing, Rows& streams) {
  const std::size_t hc = config.hc_mult;
  const std::size_t size = config.hidden_size;
  compute.pool.ranges(streams.rows(), kGrain, [&](std::size_t begin, std::size_t end) {
    std::vector<float> before(hc * size);
    for (std::size_t t = begin; t < end; ++t) {
      const std::span<float> h = streams[t];
      std::copy(h.begin(), h.end(), before.begin());
      const std::span<const float> added = x[t];
      const std::span<const float> comb = mixing.comb[t];
      for (std::size_t k = 0; k < hc; ++k) {
        const float post = mixing.post[t][k];
        for (std::size_t i = 0; i < size; ++i) {
          float kept = comb[k] * before[i];
          for (std::size_t j = 1; j < hc; ++j) kept += comb[j * hc + k] * before[j * size + i];
          h[k * size + i] = post * added[i] + kept;
        }
      }
      compute.round(h);
    }
  });
}

Rows hc_head(const Compute& compute, const ModelConfig& config, const HyperConnectionWeights& weights,
             const Rows& streams) {
  const std::size_t hc = config.hc_mult;
  const Rows scores = mixing_scores(compute, config, weights, streams);
  Rows x(streams.rows(), config.hidden_size);
  std::vector<float> pre(hc);
  for (std::size_t t = 0; t < streams.rows(); ++t) {
    for (std::size_t j = 0; j < hc; ++j) {
      pre[j] = sigmoid(scores[t][j] * weights.scale[0] + weights.base[j]) + static_cast<float>(config.hc_eps);
    }
    mix(compute, streams, pre, t, x);
  }
  return x;
}

}  // namespace outrider
