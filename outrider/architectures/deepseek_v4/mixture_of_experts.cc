#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/math/top_k.h"

namespace outrider {
namespace {

constexpr std::size_t kActivationsOfAThread = 1024;

// What an expert does in one pass.
struct Work {
  const ExpertWeights* weights = nullptr;
  std::vector<std::size_t> rows;   // of the batch; the shared expert has none: it takes all
  std::vector<float> row_weights;  // by `rows`
  Rows gathered;                   // copies of `rows`, where they do not follow one another
  Rows gate;
  Rows up;
  Rows out;
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

// The experts that tokens go to, in order of their numbers.
std::vector<Work> route(const ModelConfig& config, const BlockWeights& weights, std::span<const std::uint32_t> tokens,
                        Rows& scores) {
  std::vector<Work> by_expert(weights.experts.size());
  const std::size_t count = config.num_experts_per_tok;
  std::vector<float> biased(weights.experts.size());
  std::vector<std::uint32_t> chosen;
  for (std::size_t t = 0; t < scores.rows(); ++t) {
    router_scores(scores[t], config.scoring_func);
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
      by_expert[e].weights = &weights.experts[e];
      by_expert[e].rows.push_back(t);
      by_expert[e].row_weights.push_back(scores[t][e] / sum * static_cast<float>(config.routed_scaling_factor));
    }
  }
  std::erase_if(by_expert, [](const Work& work) { return work.rows.empty(); });
  return by_expert;
}

void add_up_products(Work& work, const Rows& x, std::vector<Product>& products) {
  const std::size_t count = work.rows.empty() ? x.rows() : work.rows.size();
  work.gate = Rows(count, work.weights->w1.rows());
  work.up = Rows(count, work.weights->w3.rows());
  std::size_t first = work.rows.empty() ? 0 : work.rows.front();
  const Rows* from = &x;
  if (!work.rows.empty() && work.rows.back() - first + 1 != count) {
    work.gathered = Rows(count, x.cols());
    for (std::size_t i = 0; i < count; ++i) std::ranges::copy(x[work.rows[i]], work.gathered[i].begin());
    from = &work.gathered;
    first = 0;
  }
  products.push_back({.weight = work.weights->w1, .x = *from, .y = work.gate, .x_row = first});
  products.push_back({.weight = work.weights->w3, .x = *from, .y = work.up, .x_row = first});
}

// gate = weight * silu(gate) * up, both clamped.
void activate(const Compute& compute, const ModelConfig& config, std::span<Work> all) {
  struct Row {
    Work* work;
    std::size_t row;
  };
  std::vector<Row> rows;
  for (Work& work : all) {
    for (std::size_t i = 0; i < work.gate.rows(); ++i) rows.push_back({&work, i});
  }
  const auto limit = static_cast<float>(config.swiglu_limit);
  const std::size_t grain = kActivationsOfAThread / config.moe_intermediate_size + 1;
  compute.pool.ranges(rows.size(), grain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const auto& [work, row] = rows[r];
      const float weight = work->row_weights.empty() ? 1.0F : work->row_weights[row];
      const std::span<float> hidden = work->gate[row];
      const std::span<const float> up = std::as_const(work->up)[row];
      for (std::size_t i = 0; i < hidden.size(); ++i) {
        float g = hidden[i];
        float u = up[i];
        if (limit > 0.0F) {
          g = std::min(g, limit);
          u = std::clamp(u, -limit, limit);
        }
        hidden[i] = weight * (g / (1.0F + std::exp(-g)) * u);
      }
      compute.round(hidden);
    }
  });
}

}  // namespace

Rows mixture_of_experts(const Compute& compute, const ModelConfig& config, const BlockWeights& weights,
                        std::span<const std::uint32_t> tokens, const Rows& x) {
  Work shared;
  shared.weights = &weights.shared_experts;
  Rows scores(x.rows(), weights.experts.size());
  std::vector<Product> products = {{weights.gate, x, scores, ProductKind::kFloat}};
  add_up_products(shared, x, products);
  multiply(compute, products);
  std::vector<Work> all = route(config, weights, tokens, scores);

  products.clear();
  for (Work& work : all) add_up_products(work, x, products);
  multiply(compute, products);
  all.push_back(std::move(shared));
  activate(compute, config, all);

  products.clear();
  for (Work& work : all) {
    work.out = Rows(work.gate.rows(), config.hidden_size);
    products.push_back({work.weights->w2, work.gate, work.out});
  }
  multiply(compute, products);

  // In order of the experts, the shared one last, so that a token's sum is always taken in the same order.
  Rows y(x.rows(), config.hidden_size);
  for (const Work& work : all) {
    for (std::size_t i = 0; i < work.out.rows(); ++i) {
      const std::span<float> to = y[work.rows.empty() ? i : work.rows[i]];
      for (std::size_t c = 0; c < to.size(); ++c) to[c] += work.out[i][c];
    }
  }
  for (std::size_t t = 0; t < y.rows(); ++t) compute.round(y[t]);
  return y;
}

}  // namespace outrider
