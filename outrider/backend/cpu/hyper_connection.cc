#include <algorithm>
#include <cmath>
#include <vector>

#include "outrider/backend/cpu/cpu_backend.h"
#include "outrider/backend/cpu/sinkhorn.h"

namespace outrider {
namespace {

float sigmoid(float x) {
  return 1.0F / (1.0F + std::exp(-x));
}

// Minimum number of rows per thread.
constexpr std::size_t kGrain = 8;

// x[row] = sum of the row's streams, each multiplied by its weight.
void mix(const Compute& compute, const Rows& h, std::span<const float> weights, std::size_t row, Rows& x) {
  const std::size_t size = x.cols();
  compute.kernels.weighted_sum(h[row].data(), weights.size(), size, weights.data(), size, x[row].data());
  compute.round(x[row]);
}

}  // namespace

void CpuBackend::mixing_scores(const HyperConnection& hc, const Rows& h, Rows& scores) {
  multiply(hc.fn, h, scores, ProductKind::kFloat);
  for (std::size_t t = 0; t < h.rows(); ++t) {
    const float* z = h[t].data();
    const float mean = compute_.dot(z, z, h.stride()) / static_cast<float>(h.cols());
    const float factor = 1.0F / std::sqrt(mean + hc.norm_eps);
    for (float& v : scores[t]) v *= factor;
  }
}

void CpuBackend::hc_pre(const HyperConnection& hc, const Rows& h, Rows& scores, Rows& post, Rows& comb, Rows& x) {
  const std::size_t streams = hc.streams;
  mixing_scores(hc, h, scores);
  pool_.ranges(h.rows(), kGrain, [&](std::size_t begin, std::size_t end) {
    std::vector<float> pre(streams);
    for (std::size_t t = begin; t < end; ++t) {
      const std::span<const float> m = scores[t];
      for (std::size_t j = 0; j < streams; ++j) {
        pre[j] = sigmoid(m[j] * hc.scale[0] + hc.base[j]) + hc.eps;
        post[t][j] = 2.0F * sigmoid(m[streams + j] * hc.scale[1] + hc.base[streams + j]);
      }
      for (std::size_t i = 0; i < streams * streams; ++i) {
        comb[t][i] = m[2 * streams + i] * hc.scale[2] + hc.base[2 * streams + i];
      }
      sinkhorn(comb[t], streams, hc.sinkhorn_iterations, hc.eps);
      mix(compute_, h, pre, t, x);
    }
  });
}

void CpuBackend::hc_post(const Rows& x, const Rows& post, const Rows& comb, Rows& h) {
  const std::size_t streams = post.cols();
  const std::size_t size = x.cols();
  pool_.ranges(h.rows(), kGrain, [&](std::size_t begin, std::size_t end) {
    std::vector<float> before((streams + 1) * size);  // the streams, then the sublayer's output
    std::vector<float> weights(streams + 1);
    for (std::size_t t = begin; t < end; ++t) {
      const std::span<float> after = h[t];
      std::ranges::copy(after, before.begin());
      std::ranges::copy(x[t], before.end() - static_cast<std::ptrdiff_t>(size));
      for (std::size_t k = 0; k < streams; ++k) {
        for (std::size_t j = 0; j < streams; ++j) weights[j] = comb[t][j * streams + k];
        weights[streams] = post[t][k];
        compute_.kernels.weighted_sum(before.data(), streams + 1, size, weights.data(), size, after.data() + k * size);
      }
      compute_.round(after);
    }
  });
}

void CpuBackend::hc_head(const HyperConnection& hc, const Rows& h, Rows& scores, Rows& x) {
  mixing_scores(hc, h, scores);
  std::vector<float> pre(hc.streams);
  for (std::size_t t = 0; t < h.rows(); ++t) {
    for (std::size_t j = 0; j < hc.streams; ++j) {
      pre[j] = sigmoid(scores[t][j] * hc.scale[0] + hc.base[j]) + hc.eps;
    }
    mix(compute_, h, pre, t, x);
  }
}

}  // namespace outrider
