#include "outrider/architectures/deepseek_v4/mtp.h"

#include <fmt/format.h>

#include <vector>

#include "outrider/architectures/deepseek_v4/batch_plan.h"
#include "outrider/architectures/deepseek_v4/block.h"
#include "outrider/architectures/deepseek_v4/deepseek_v4_model.h"
#include "outrider/architectures/deepseek_v4/layer_states.h"
#include "outrider/architectures/deepseek_v4/output_head.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

// An MTP block's attention is that of a layer without compression.
constexpr LayerAttention kAttention;

// Only this model's checkpoints have MTP blocks.
const DeepseekV4Model& with_mtp(const Model& model) {
  return dynamic_cast<const DeepseekV4Model&>(model);
}

}  // namespace

Sequence new_mtp_cache(const Model& model, const SequenceLimits& limits) {
  return new_sequence({&kAttention, 1}, model.config(), model.mode(), limits);
}

std::uint64_t mtp_cache_bytes(const Model& model, const SequenceLimits& limits) {
  return sequence_bytes({&kAttention, 1}, model.config(), model.mode(), limits);
}

void prepare_narrow_head(const Model& model, std::uint64_t min_bytes) {
  with_mtp(model).prepare_narrow_head(min_bytes);
}

std::uint64_t narrow_head_bytes(const Model& model) {
  const NarrowHead* const head = with_mtp(model).narrow_head();
  return head == nullptr ? 0 : head->bytes();
}

ForwardResult run_mtp(const Model& any_model, std::span<const MtpItem> items, const Rows& streams, std::size_t block,
                      MtpHead head) {
  const DeepseekV4Model& model = with_mtp(any_model);
  const ForwardContext context = model.context();
  const auto& [c, backend, a] = context;
  if (block >= model.mtp_blocks()) {
    throw Error(fmt::format("The model has {} MTP blocks; there is no block {}.", model.mtp_blocks(), block));
  }
  const MtpWeights& weights = model.weights().mtp[block];
  BatchPlan plan;
  std::vector<std::size_t> sources;
  for (const MtpItem& item : items) {
    if (item.first_row + item.next_tokens.size() > streams.rows() || streams.cols() != c.hc_mult * c.hidden_size) {
      throw Error("The streams given to an MTP block do not cover its positions.");
    }
    plan.add(*item.cache, item.next_tokens, c.vocab_size, item.logits);
    for (std::size_t i = 0; i < item.next_tokens.size(); ++i) sources.push_back(item.first_row + i);
  }
  a.reshape(plan.size());
  const auto eps = static_cast<float>(c.rms_norm_eps);
  ForwardResult result;
  Rows& h = result.streams;
  h = Rows(plan.tokens.size(), c.hc_mult * c.hidden_size);

  backend.embed(weights.embed, plan.tokens, a.x);
  backend.rms_norm(weights.enorm, eps, a.x);
  backend.gather(streams, sources, a.hidden);
  backend.rms_norm(weights.hnorm, eps, a.hidden);
  backend.multiply({{weights.e_proj, a.x, a.y}, {weights.h_proj, a.hidden, a.from_streams}});
  backend.add_token(a.y, a.from_streams, h);

  backend.rope_angles(model.window_rope(), plan.positions, a.window_angles);
  for (std::size_t i = 0; i < items.size(); ++i) plan.set_state(i, layer_state(*items[i].cache, 0));
  run_block(context, weights.block, plan.batch(), {model.window_rope(), a.window_angles}, h);
  for (const MtpItem& item : items) item.cache->advance(item.next_tokens.size());
  const NarrowHead* narrow = head == MtpHead::kNarrow && block == 0 ? model.narrow_head() : nullptr;
  result.logits = output_logits(context, h, plan.wanted, weights.hc_head, weights.norm, weights.head, narrow);
  return result;
}

}  // namespace outrider
