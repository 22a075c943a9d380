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
  const std::span<float> out = x[row];
  const float* stream = h[row].data();
  for (std::size_t i = 0; i < size; ++i) {
    float sum = weights[0] * stream[i];
    for (std::size_t j = 1; j < weights.size(); ++j) sum += weights[j] * stream[j * size + i];
    out[i] = sum;
  }
  compute.round(out);
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
    std::vector<float> before(streams * size);
    for (std::size_t t = begin; t < end; ++t) {
      const std::span<float> after = h[t];
      std::copy(after.begin(), after.end(), before.begin());
      const std::span<const float> added = x[t];
      const std::span<const float> kept_of = comb[t];
      for (std::size_t k = 0; k < streams; ++k) {
        const float weight = post[t][k];
        for (std::size_t i = 0; i < size; ++i) {
          float kept = kept_of[k] * before[i];
          for (std::size_t j = 1; j < streams; ++j) kept += kept_of[j * streams + k] * before[j * size + i];
          after[k * size + i] = weight * added[i] + kept;
        }
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
