#include "outrider/architectures/deepseek_v4/deepseek_v4_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "outrider/architectures/deepseek_v4/batch_plan.h"
#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/architectures/deepseek_v4/layer_states.h"
#include "outrider/architectures/deepseek_v4/output_head.h"
#include "outrider/util/error.h"
#include "outrider/util/saturating.h"

namespace outrider {
namespace {

void require(bool holds, const std::string& message) {
  if (!holds) throw Error(message);
}

// Constraints on shapes that the forward pass relies on and the manifest does not check.
void check_shapes(const ModelConfig& c, NumericMode mode) {
  const auto power_of_two = [](std::uint64_t n) { return n != 0 && (n & (n - 1)) == 0; };
  require(c.qk_rope_head_dim % 2 == 0 && c.qk_rope_head_dim <= c.head_dim,
          fmt::format("config.json: qk_rope_head_dim {} must be even and at most head_dim {}.", c.qk_rope_head_dim,
                      c.head_dim));
  require(c.o_groups != 0 && c.num_attention_heads * c.head_dim % c.o_groups == 0,
          fmt::format("config.json: {} heads of {} values do not split into {} o_groups.", c.num_attention_heads,
                      c.head_dim, c.o_groups));
  require(c.num_experts_per_tok <= c.n_routed_experts,
          fmt::format("config.json: num_experts_per_tok {} exceeds n_routed_experts {}.", c.num_experts_per_tok,
                      c.n_routed_experts));
  require(c.sliding_window != 0, "config.json: sliding_window must not be 0.");
  if (c.index_n_heads == 0) return;
  require(
      c.qk_rope_head_dim <= c.index_head_dim,
      fmt::format("config.json: qk_rope_head_dim {} exceeds index_head_dim {}.", c.qk_rope_head_dim, c.index_head_dim));
  require(mode == NumericMode::kExact || power_of_two(c.index_head_dim),
          fmt::format("config.json: index_head_dim {} must be a power of two for the Hadamard transform.",
                      c.index_head_dim));
}

void check_dspark(const ModelConfig& c) {
  const DsparkConfig& d = *c.dspark;
  const std::string without = " Run the model with --no-speculation.";
  require(d.block_size != 0, "config.json: dspark_block_size is missing." + without);
  require(d.noise_token < c.vocab_size,
          fmt::format("config.json: dspark_noise_token_id {} is not a token (vocab_size {}).{}", d.noise_token,
                      c.vocab_size, without));
  for (std::size_t i = 0; i < d.target_layer_ids.size(); ++i) {
    require(d.target_layer_ids[i] < c.layers.size() && (i == 0 || d.target_layer_ids[i - 1] < d.target_layer_ids[i]),
            fmt::format("config.json: dspark_target_layer_ids must be ascending numbers of the model's {} layers.{}",
                        c.layers.size(), without));
  }
}

}  // namespace

DeepseekV4Model::DeepseekV4Model(std::shared_ptr<const Weights> weights, std::unique_ptr<Backend> backend)
    : Model(std::move(weights), std::move(backend)),
      weights_(source()),
      window_rope_(config(), false),
      compressed_rope_(config(), true) {
  check_shapes(config(), mode());
  std::size_t experts = config().n_routed_experts;
  const auto count_experts = [&](const BlockWeights& block, std::string_view name) {
    require(config().num_experts_per_tok <= block.experts.size(),
            fmt::format("{} has {} experts, fewer than num_experts_per_tok {} of config.json. Run the model with "
                        "--no-speculation.",
                        name, block.experts.size(), config().num_experts_per_tok));
    experts = std::max(experts, block.experts.size());
  };
  for (const MtpWeights& mtp : weights_.mtp) count_experts(mtp.block, "An MTP block");
  if (weights_.dspark) {
    for (const BlockWeights& stage : weights_.dspark->stages) count_experts(stage, "A stage of the DSpark drafter");
    check_dspark(config());
  }
  activations_ = std::make_unique<Activations>(config(), experts, !weights_.mtp.empty());
}

DeepseekV4Model::~DeepseekV4Model() = default;

void DeepseekV4Model::prepare_narrow_head(std::uint64_t min_bytes) const {
  if (narrow_head_ || (weights_.mtp.empty() && !weights_.dspark)) return;
  const Linear& head = weights_.dspark ? weights_.dspark->head : weights_.mtp.front().head;
  if (head.bytes(head.rows()) >= min_bytes && NarrowHead::possible(head)) narrow_head_.emplace(head);
}

ForwardContext DeepseekV4Model::context() const {
  return {config(), mutable_backend(), *activations_};
}

std::uint64_t DeepseekV4Model::sequence_bytes(const SequenceLimits& limits) const {
  return outrider::sequence_bytes(config().layers, config(), mode(), limits);
}

std::uint64_t DeepseekV4Model::scratch_bytes(const PassSize& pass) const {
  return saturating_add(activations_->bytes(pass), backend().scratch_bytes(activations_->product_inputs(pass)));
}

std::uint64_t DeepseekV4Model::result_bytes(const PassSize& pass) const {
  const ModelConfig& c = config();
  return saturating_add(saturating_multiply(pass.tokens, Rows::bytes(1, c.hc_mult * c.hidden_size)),
                        saturating_multiply(pass.logits, Rows::bytes(1, c.vocab_size)));
}

Sequence DeepseekV4Model::new_sequence(SequenceLimits limits) const {
  return outrider::new_sequence(config().layers, config(), mode(), limits);
}

ForwardResult DeepseekV4Model::forward(std::span<const ForwardItem> items, const LayerObserver& observer) const {
  const ModelConfig& c = config();
  BatchPlan plan;
  for (const ForwardItem& item : items) plan.add(*item.sequence, item.tokens, c.vocab_size, item.logits);
  Activations& a = *activations_;
  a.reshape(plan.size());
  ForwardResult result;
  Rows& h = result.streams;
  h = Rows(plan.tokens.size(), c.hc_mult * c.hidden_size);
  mutable_backend().embed(weights_.embed, plan.tokens, h);
  mutable_backend().rope_angles(window_rope_, plan.positions, a.window_angles);
  mutable_backend().rope_angles(compressed_rope_, plan.positions, a.compressed_angles);
  for (std::size_t l = 0; l < weights_.layers.size(); ++l) {
    const BlockWeights& layer = weights_.layers[l];
    for (std::size_t i = 0; i < items.size(); ++i) plan.set_state(i, layer_state(*items[i].sequence, l));
    const bool compressed = layer.attention.compressed();
    run_block(context(), layer, plan.batch(),
              {compressed ? compressed_rope_ : window_rope_, compressed ? a.compressed_angles : a.window_angles}, h);
    if (observer) observer(l, h);
  }
  for (const ForwardItem& item : items) item.sequence->advance(item.tokens.size());
  result.logits = output_logits(context(), h, plan.wanted, weights_.hc_head, weights_.norm, weights_.head);
  return result;
}

}  // namespace outrider
