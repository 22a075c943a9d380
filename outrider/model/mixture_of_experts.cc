#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "outrider/model/block.h"
#include "outrider/model/top_k.h"

namespace outrider {
namespace {

// Tokens that an expert works on, with their weights.
struct Assignment {
  std::vector<std::size_t> rows;
  std::vector<float> weights;
};

void router_scores(std::span<float> logits, std::string_view scoring_func) {
  if (scoring_func == "softmax") {
    const float max = *std::max_element(logits.begin(), logits.end());
    float sum = 0.0F;
    for (float& v : logits) sum += v = std::exp(v - max);
    for (float& v : logits) v /= sum;
  } else if (scoring_func == "sigmoid") {
    for (float& v : logits) v = 1.0F / (1.0F + std::exp(-v));
  } else {
    for (float& v : logits) v = std::sqrt(v > 20.0F ? v : std::log1p(std::exp(v)));
  }
}

std::vector<Assignment> route(const Compute& compute, const ModelConfig& config, const BlockWeights& weights,
                              std::span<const std::uint32_t> tokens, const Rows& x) {
  Rows scores(x.rows(), config.n_routed_experts);
  multiply(compute, weights.gate, x, scores, ProductKind::kFloat);
  std::vector<Assignment> assignments(config.n_routed_experts);
  const std::size_t count = config.num_experts_per_tok;
  std::vector<float> biased(config.n_routed_experts);
  for (std::size_t t = 0; t < x.rows(); ++t) {
    router_scores(scores[t], config.scoring_func);
    std::vector<std::uint32_t> chosen;
    if (!weights.tid2eid.empty()) {
      const auto first = weights.tid2eid.begin() + static_cast<std::ptrdiff_t>(tokens[t] * count);
      chosen.assign(first, first + static_cast<std::ptrdiff_t>(count));
    } else {
      for (std::size_t e = 0; e < biased.size(); ++e) biased[e] = scores[t][e] + weights.gate_bias[e];
      chosen = top_k(biased, count);
    }
    float sum = 0.0F;
    for (const std::uint32_t e : chosen) sum += scores[t][e];
    if (config.scoring_func == "softmax") sum = 1.0F;
    for (const std::uint32_t e : chosen) {
      assignments[e].rows.push_back(t);
      assignments[e].weights.push_back(scores[t][e] / sum * static_cast<float>(config.routed_scaling_factor));
    }
  }
  return assignments;
}

// `row_weights`: of a routed expert, one a row of x; empty for the shared one.
Rows run_expert(const Compute& compute, const ModelConfig& config, const ExpertWeights& weights, const Rows& x,
                std::span<const float> row_weights) {
  Rows gate(x.rows(), weights.w1.rows());
  Rows up(x.rows(), weights.w3.rows());
  multiply(compute, weights.w1, x, gate, ProductKind::kLinear);
  multiply(compute, weights.w3, x, up, ProductKind::kLinear);
  const auto limit = static_cast<float>(config.swiglu_limit);
  for (std::size_t t = 0; t < x.rows(); ++t) {
    const float weight = row_weights.empty() ? 1.0F : row_weights[t];
    const std::span<float> hidden = gate[t];
    for (std::size_t i = 0; i < hidden.size(); ++i) {
      float g = hidden[i];
      float u = up[t][i];
      if (limit > 0.0F) {
        g = std::min(g, limit);
        u = std::clamp(u, -limit, limit);
      }
      hidden[i] = weight * (g / (1.0F + std::exp(-g)) * u);
    }
    compute.round(hidden);
  }
  Rows out(x.rows(), config.hidden_size);
  multiply(compute, weights.w2, gate, out, ProductKind::kLinear);
  return out;
}

}  // namespace

Rows mixture_of_experts(const Compute& compute, const ModelConfig& config, const BlockWeights& weights,
                        std::span<const std::uint32_t> tokens, const Rows& x) {
  Rows y(x.rows(), config.hidden_size);
  const std::vector<Assignment> assignments = route(compute, config, weights, tokens, x);
  // In order of the experts, so that a token's sum is always taken in the same order.
  for (std::size_t e = 0; e < assignments.size(); ++e) {
    const Assignment& assignment = assignments[e];
    if (assignment.rows.empty()) continue;
    Rows part(assignment.rows.size(), x.cols());
    for (std::size_t i = 0; i < part.rows(); ++i) {
      const std::span<const float> from = x[assignment.rows[i]];
      std::copy(from.begin(), from.end(), part[i].begin());
    }
    const Rows out = run_expert(compute, config, weights.experts[e], part, assignment.weights);
    for (std::size_t i = 0; i < part.rows(); ++i) {
      const std::span<float> to = y[assignment.rows[i]];
      for (std::size_t c = 0; c < to.size(); ++c) to[c] += out[i][c];
    }
  }
  const Rows shared = run_expert(compute, config, weights.shared_experts, x, {});
  for (std::size_t t = 0; t < y.rows(); ++t) {
    for (std::size_t c = 0; c < y.cols(); ++c) y[t][c] += shared[t][c];
    compute.round(y[t]);
  }
  return y;
}

}  // namespace outrider
