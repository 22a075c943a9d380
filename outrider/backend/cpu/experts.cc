#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "outrider/backend/cpu/cpu_backend.h"
#include "outrider/math/top_k.h"

namespace outrider {
namespace {

constexpr std::size_t kActivationsOfAThread = 1024;

void router_scores(std::span<float> logits, ScoringFunction scoring) {
  switch (scoring) {
    case ScoringFunction::kSoftmax: {
      const float max = *std::max_element(logits.begin(), logits.end());
      float sum = 0.0F;
      for (float& v : logits) sum += v = std::exp(v - max);
      for (float& v : logits) v /= sum;
      break;
    }
    case ScoringFunction::kSigmoid:
      for (float& v : logits) v = 1.0F / (1.0F + std::exp(-v));
      break;
    case ScoringFunction::kSqrtSoftplus:
      for (float& v : logits) v = std::sqrt(v > 20.0F ? v : std::log1p(std::exp(v)));
  }
}

// The rows routed to each expert, sorted by expert.
struct Assignment {
  Assignment(const Routing& routing, std::size_t experts) : first(experts + 1) {
    const std::size_t tokens = routing.experts.rows();
    for (std::size_t t = 0; t < tokens; ++t) {
      for (const std::uint32_t e : std::as_const(routing.experts)[t]) ++first[e + 1];
    }
    for (std::size_t e = 0; e < experts; ++e) first[e + 1] += first[e];
    std::vector<std::size_t> next(first.begin(), first.end() - 1);
    rows.resize(first.back());
    weights.resize(first.back());
    for (std::size_t t = 0; t < tokens; ++t) {
      const std::span<const std::uint32_t> chosen = routing.experts[t];
      for (std::size_t k = 0; k < chosen.size(); ++k) {
        const std::size_t at = next[chosen[k]]++;
        rows[at] = static_cast<std::uint32_t>(t);
        weights[at] = routing.weights[t][k];
      }
    }
  }

  std::size_t count(std::size_t expert) const { return first[expert + 1] - first[expert]; }

  std::vector<std::size_t> first;   // by expert: index of its first row in `rows`
  std::vector<std::uint32_t> rows;  // rows of the batch
  std::vector<float> weights;       // in the order of `rows`
};

// The product of one expert's rows of x with a weight.
Product product_of(const Linear& weight, const Rows& x, const Assignment& assigned, std::size_t expert, Rows& y) {
  const std::size_t first = assigned.first[expert];
  const std::size_t count = assigned.count(expert);
  const std::span<const std::uint32_t> rows = std::span(assigned.rows).subspan(first, count);
  Product product{.weight = weight, .x = x, .y = y, .tokens = count, .y_row = first};
  if (rows.back() - rows.front() + 1 == count) {
    product.x_row = rows.front();
  } else {
    product.x_rows = rows;
  }
  return product;
}

// gate = weight * silu(gate) * up, both clamped.
void activate(const Compute& compute, std::span<float> gate, std::span<const float> up, float weight, float limit) {
  for (std::size_t i = 0; i < gate.size(); ++i) {
    float g = gate[i];
    float u = up[i];
    if (limit > 0.0F) {
      g = std::min(g, limit);
      u = std::clamp(u, -limit, limit);
    }
    gate[i] = weight * (g / (1.0F + std::exp(-g)) * u);
  }
  compute.round(gate);
}

void add(std::span<const float> x, std::span<float> to) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += x[i];
}

}  // namespace

void CpuBackend::route(const Router& router, std::span<const std::uint32_t> tokens, Rows& scores, Routing routing) {
  const std::size_t count = routing.experts.cols();
  std::vector<float> biased(scores.cols());
  for (std::size_t t = 0; t < scores.rows(); ++t) {
    router_scores(scores[t], router.scoring);
    const std::span<std::uint32_t> chosen = routing.experts[t];
    if (!router.tid2eid.empty()) {
      std::ranges::copy(router.tid2eid.subspan(tokens[t] * count, count), chosen.begin());
    } else {
      for (std::size_t e = 0; e < biased.size(); ++e) biased[e] = scores[t][e] + router.bias[e];
      std::ranges::copy(top_k(biased, count), chosen.begin());
    }
    float sum = 0.0F;
    for (const std::uint32_t e : chosen) sum += scores[t][e];
    if (router.scoring == ScoringFunction::kSoftmax) sum = 1.0F;
    for (std::size_t k = 0; k < count; ++k) routing.weights[t][k] = scores[t][chosen[k]] / sum * router.scale;
  }
}

void CpuBackend::experts(const Experts& experts, const Routing& routing, const Rows& x, const ExpertBuffers& buffers,
                         Rows& y) {
  const Assignment assigned(routing, experts.routed.size());
  std::vector<std::size_t> used;
  for (std::size_t e = 0; e < experts.routed.size(); ++e) {
    if (assigned.count(e) != 0) used.push_back(e);
  }

  std::vector<Product> products;
  for (const std::size_t e : used) {
    products.push_back(product_of(experts.routed[e].w1, x, assigned, e, buffers.gate));
    products.push_back(product_of(experts.routed[e].w3, x, assigned, e, buffers.up));
  }
  products.push_back({.weight = experts.shared.w1, .x = x, .y = buffers.shared_gate});
  products.push_back({.weight = experts.shared.w3, .x = x, .y = buffers.shared_up});
  multiply(products);

  const std::size_t routed_rows = assigned.rows.size();
  const std::size_t grain = kActivationsOfAThread / std::max<std::size_t>(buffers.gate.cols(), 1) + 1;
  pool_.ranges(routed_rows + x.rows(), grain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      if (r < routed_rows) {
        activate(compute_, buffers.gate[r], buffers.up[r], assigned.weights[r], experts.swiglu_limit);
      } else {
        const std::size_t t = r - routed_rows;
        activate(compute_, buffers.shared_gate[t], buffers.shared_up[t], 1.0F, experts.swiglu_limit);
      }
    }
  });

  products.clear();
  for (const std::size_t e : used) {
    const std::size_t first = assigned.first[e];
    products.push_back({.weight = experts.routed[e].w2,
                        .x = buffers.gate,
                        .y = buffers.out,
                        .tokens = assigned.count(e),
                        .x_row = first,
                        .y_row = first});
  }
  products.push_back({.weight = experts.shared.w2, .x = buffers.shared_gate, .y = buffers.shared_out});
  multiply(products);

  // In order of the experts, the shared one last, so that a token's sum always has the same order.
  for (std::size_t t = 0; t < y.rows(); ++t) std::ranges::fill(y[t], 0.0F);
  for (std::size_t r = 0; r < routed_rows; ++r) add(buffers.out[r], y[assigned.rows[r]]);
  for (std::size_t t = 0; t < y.rows(); ++t) {
    add(buffers.shared_out[t], y[t]);
    compute_.round(y[t]);
  }
}

}  // namespace outrider
