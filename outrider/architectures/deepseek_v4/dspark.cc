#include "outrider/architectures/deepseek_v4/dspark.h"

#include <algorithm>
#include <cmath>

#include "outrider/architectures/deepseek_v4/batch_plan.h"
#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/architectures/deepseek_v4/deepseek_v4_model.h"
#include "outrider/architectures/deepseek_v4/layer_states.h"
#include "outrider/architectures/deepseek_v4/output_head.h"
#include "outrider/checkpoint/number_formats.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

// Only this model's checkpoints have DSpark drafters.
const DeepseekV4Model& owner_of_dspark(const Model& model) {
  return dynamic_cast<const DeepseekV4Model&>(model);
}

const DsparkWeights& dspark_of(const DeepseekV4Model& model) {
  if (!model.weights().dspark) throw Error("The checkpoint has no DSpark drafter.");
  return *model.weights().dspark;
}

// A stage's attention is that of a layer without compression.
std::vector<LayerAttention> stages_of(const Model& model) {
  return std::vector<LayerAttention>(dspark_of(owner_of_dspark(model)).stages.size());
}

}  // namespace

bool has_dspark(const Model& model) {
  const auto* const own = dynamic_cast<const DeepseekV4Model*>(&model);
  return own != nullptr && own->weights().dspark.has_value();
}

Sequence new_dspark_cache(const Model& model, const SequenceLimits& limits) {
  return new_sequence(stages_of(model), model.config(), model.mode(), limits);
}

std::uint64_t dspark_cache_bytes(const Model& model, const SequenceLimits& limits) {
  return sequence_bytes(stages_of(model), model.config(), model.mode(), limits);
}

void target_means(const Model& model, std::span<const Rows> streams, std::size_t row, std::span<float> out) {
  const std::size_t size = model.config().hidden_size;
  const std::size_t count = model.config().hc_mult;
  for (std::size_t target = 0; target < streams.size(); ++target) {
    const float* const h = streams[target][row].data();
    float* const mean = out.data() + target * size;
    std::copy_n(h, size, mean);
    for (std::size_t s = 1; s < count; ++s) {
      for (std::size_t i = 0; i < size; ++i) mean[i] += h[s * size + i];
    }
    for (std::size_t i = 0; i < size; ++i) mean[i] /= static_cast<float>(count);
  }
  if (model.mode() == NumericMode::kExact) return;
  for (float& v : out) v = round_to_bf16(v);
}

void append_dspark_keys(const Model& any_model, std::span<const DsparkPositions> items, const Rows& means) {
  const DeepseekV4Model& model = owner_of_dspark(any_model);
  const DsparkWeights& weights = dspark_of(model);
  const ForwardContext context = model.context();
  const auto& [c, backend, a] = context;
  BatchPlan plan;
  std::vector<std::size_t> sources;
  for (const DsparkPositions& item : items) {
    const std::vector<std::uint32_t> no_tokens(item.rows);  // keys do not depend on them
    plan.add(*item.cache, no_tokens, c.vocab_size, LogitsWanted::kNone);
    for (std::size_t i = 0; i < item.rows; ++i) sources.push_back(item.first_row + i);
  }
  a.reshape(plan.size());
  backend.gather(means, sources, a.target_means);
  backend.multiply(weights.main_proj, a.target_means, a.x);
  backend.rms_norm(weights.main_norm, static_cast<float>(c.rms_norm_eps), a.x);
  backend.rope_angles(model.window_rope(), plan.positions, a.window_angles);
  for (std::size_t s = 0; s < weights.stages.size(); ++s) {
    for (std::size_t i = 0; i < items.size(); ++i) plan.set_state(i, layer_state(*items[i].cache, s));
    backend.multiply(weights.stages[s].wkv, a.x, a.kv);
    finish_keys(context, weights.stages[s], {model.window_rope(), a.window_angles});
    backend.store_keys(plan.batch(), a.kv);
  }
  for (const DsparkPositions& item : items) item.cache->advance(item.rows);
}

DsparkBlock run_dspark(const Model& any_model, std::span<const DsparkRound> rounds) {
  const DeepseekV4Model& model = owner_of_dspark(any_model);
  const DsparkWeights& weights = dspark_of(model);
  const ForwardContext context = model.context();
  const auto& [c, backend, a] = context;
  // The rows are not appended to the caches, and may lie beyond their max_length.
  BatchPlan plan;
  for (const DsparkRound& round : rounds) {
    if (round.anchor >= c.vocab_size) throw Error("A token id is out of range.");
    const std::size_t rows = std::max<std::size_t>(round.wanted, c.dspark->block_size);
    const std::uint64_t start = round.cache->length();
    plan.chunks.push_back({.first_row = plan.tokens.size(), .rows = rows, .start = start});
    for (std::size_t j = 0; j < rows; ++j) {
      if (j < round.wanted) plan.wanted.push_back(plan.tokens.size());
      plan.tokens.push_back(j == 0 ? round.anchor : static_cast<std::uint32_t>(c.dspark->noise_token));
      plan.positions.push_back(start + j);
    }
  }
  a.reshape(plan.size());
  Rows h(plan.tokens.size(), c.hc_mult * c.hidden_size);
  backend.embed(weights.embed, plan.tokens, h);
  backend.rope_angles(model.window_rope(), plan.positions, a.window_angles);
  for (std::size_t s = 0; s < weights.stages.size(); ++s) {
    for (std::size_t i = 0; i < rounds.size(); ++i) plan.set_state(i, layer_state(*rounds[i].cache, s));
    run_block(context, weights.stages[s], plan.batch(), {model.window_rope(), a.window_angles}, h,
              Visibility::kWholeChunk);
  }
  DsparkBlock block;
  block.logits = output_logits(context, h, plan.wanted, weights.hc_head, weights.norm, weights.head,
                               model.narrow_head(), &block.y);
  return block;
}

DsparkStep finish_dspark_rows(const Model& any_model, const DsparkBlock& block, std::span<const std::size_t> rows,
                              std::span<const std::uint32_t> tokens_before) {
  const DeepseekV4Model& model = owner_of_dspark(any_model);
  const DsparkWeights& weights = dspark_of(model);
  const auto& [c, backend, a] = model.context();
  const std::size_t rank = weights.markov_w1.cols();
  Rows previous(rows.size(), rank);
  backend.embed(weights.markov_w1, tokens_before, previous);
  DsparkStep step;
  step.logits = Rows(rows.size(), c.vocab_size);
  backend.multiply(weights.markov_w2, previous, step.logits, ProductKind::kFloat);
  Rows input(rows.size(), c.hidden_size + rank);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::span<const float> base = block.logits[rows[i]];
    std::ranges::transform(base, step.logits[i], step.logits[i].begin(), std::plus<>());
    std::ranges::copy(previous[i], std::ranges::copy(block.y[rows[i]], input[i].begin()).out);
  }
  Rows scores(rows.size(), 1);
  backend.multiply(weights.confidence, input, scores, ProductKind::kFloat);
  for (std::size_t i = 0; i < rows.size(); ++i) step.confidence.push_back(1 / (1 + std::exp(-scores[i][0])));
  return step;
}

}  // namespace outrider
