#include "outrider/decoding/dspark_drafter.h"

#include <algorithm>

#include "outrider/architectures/deepseek_v4/dspark.h"
#include "outrider/architectures/deepseek_v4/mtp.h"
#include "outrider/decoding/cached_drafter_state.h"
#include "outrider/util/error.h"
#include "outrider/util/saturating.h"

namespace outrider {

// Its cache holds the stages' keys; pending are the target_means().
struct DsparkState : CachedDrafterState {
  using CachedDrafterState::CachedDrafterState;

  std::size_t reusable(std::size_t common) const override {
    return common > cache.length() || cache.can_truncate(common) ? common : 0;
  }
};

DsparkDrafter::DsparkDrafter(const Model& model, std::uint64_t narrow_head_from) : model_(model) {
  if (!has_dspark(model)) throw Error("The checkpoint has no DSpark drafter for speculative decoding.");
  for (const std::uint64_t layer : model.config().dspark->target_layer_ids) target_layers_.push_back(layer);
  prepare_narrow_head(model, narrow_head_from);
}

std::unique_ptr<DrafterState> DsparkDrafter::new_state(const SequenceLimits& limits) const {
  return std::make_unique<DsparkState>(new_dspark_cache(model_, limits), model_.config().sliding_window);
}

std::uint64_t DsparkDrafter::state_bytes(const SequenceLimits& limits) const {
  const ModelConfig& c = model_.config();
  return saturating_add(dspark_cache_bytes(model_, limits),
                        most_pending() * target_layers_.size() * c.hidden_size * sizeof(float));
}

std::uint64_t DsparkDrafter::weight_bytes() const {
  return narrow_head_bytes(model_);
}

std::size_t DsparkDrafter::most_pending() const {
  return model_.config().sliding_window + kMaxRollback;
}

void DsparkDrafter::catch_up(std::span<DsparkState* const> states) const {
  std::size_t rows = 0;
  for (const DsparkState* state : states) rows += state->pending.size();
  if (rows == 0) return;
  Rows means(rows, target_layers_.size() * model_.config().hidden_size);
  std::vector<DsparkPositions> items;
  rows = 0;
  for (DsparkState* state : states) {
    const std::size_t count = state->pending.size();
    if (count == 0) continue;
    state->skip_gap();
    state->copy_pending(count, means, rows);
    items.push_back({&state->cache, rows, count});
    rows += count;
  }
  append_dspark_keys(model_, items, means);
  for (DsparkState* state : states) state->pending.clear();
}

void DsparkDrafter::observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const {
  std::vector<DsparkState*> catching_up;
  for (const ObservedItem& item : items) {
    DsparkState& state = state_of<DsparkState>(item.state);
    const std::size_t kept = std::min(item.rows, most_pending());
    for (std::size_t r = item.first_row + item.rows - kept; r < item.first_row + item.rows; ++r) {
      std::vector<float>& means = state.pending.emplace_back(streams.size() * model_.config().hidden_size);
      target_means(model_, streams, r, means);
    }
    while (state.pending.size() > most_pending()) state.pending.pop_front();
    state.observed += item.rows;
    if (item.catch_up) catching_up.push_back(&state);
  }
  catch_up(catching_up);
}

std::vector<std::vector<DraftToken>> DsparkDrafter::draft(std::span<const DraftItem> items) const {
  std::vector<DsparkState*> states;
  std::vector<DsparkRound> rounds;
  for (const DraftItem& item : items) {
    states.push_back(&state_of<DsparkState>(item.state));
    rounds.push_back({&states.back()->cache, item.tokens.back(), item.max_tokens});
  }
  catch_up(states);
  const DsparkBlock block = run_dspark(model_, rounds);
  std::vector<std::vector<DraftToken>> drafts(items.size());
  std::vector<std::size_t> first_row(items.size());
  for (std::size_t i = 1; i < items.size(); ++i) first_row[i] = first_row[i - 1] + items[i - 1].max_tokens;
  for (std::size_t j = 0;; ++j) {
    std::vector<std::size_t> drafting;
    std::vector<std::size_t> rows;
    std::vector<std::uint32_t> before;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (items[i].max_tokens <= j || drafts[i].size() < j) continue;
      drafting.push_back(i);
      rows.push_back(first_row[i] + j);
      before.push_back(j == 0 ? items[i].tokens.back() : drafts[i].back().id);
    }
    if (drafting.empty()) return drafts;
    const DsparkStep step = finish_dspark_rows(model_, block, rows, before);
    for (std::size_t n = 0; n < drafting.size(); ++n) {
      const DraftItem& item = items[drafting[n]];
      require_finite(step.logits[n]);
      if (!item.admits(static_cast<double>(step.confidence[n]))) continue;
      drafts[drafting[n]].push_back(item.sampler->draft(step.logits[n]));
    }
  }
}

}  // namespace outrider
