#include "outrider/decoding/mtp_drafter.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "outrider/architectures/deepseek_v4/mtp.h"
#include "outrider/decoding/cached_drafter_state.h"
#include "outrider/decoding/logprobs.h"
#include "outrider/util/error.h"
#include "outrider/util/saturating.h"

namespace outrider {

// Its cache has processed each position together with the token that follows it.
struct MtpState : CachedDrafterState {
  using CachedDrafterState::CachedDrafterState;

  // A token is drafted from the position before it.
  bool ready() const override { return !pending.empty() && CachedDrafterState::ready(); }

  std::size_t reusable(std::size_t common) const override {
    if (common > cache.length()) return common;
    // The block has been run past the last common token, with another token after it. The streams at that position are
    // gone, so the token must be processed again.
    return common != 0 && cache.can_truncate(common - 1) ? common - 1 : 0;
  }
};

namespace {

// Rows of a pass that only catches up.
constexpr std::size_t kCatchUpRows = 64;

}  // namespace

MtpDrafter::MtpDrafter(const Model& model, std::uint64_t narrow_head_from)
    : model_(model), last_layer_(model.config().layers.size() - 1) {
  if (model.mtp_blocks() == 0) throw Error("The checkpoint has no MTP block for speculative decoding.");
  prepare_narrow_head(model, narrow_head_from);
}

std::unique_ptr<DrafterState> MtpDrafter::new_state(const SequenceLimits& limits) const {
  return std::make_unique<MtpState>(new_mtp_cache(model_, limits), model_.config().sliding_window);
}

std::uint64_t MtpDrafter::state_bytes(const SequenceLimits& limits) const {
  const ModelConfig& c = model_.config();
  return saturating_add(mtp_cache_bytes(model_, limits), most_pending() * c.hc_mult * c.hidden_size * sizeof(float));
}

std::uint64_t MtpDrafter::weight_bytes() const {
  return narrow_head_bytes(model_);
}

std::size_t MtpDrafter::most_pending() const {
  return model_.config().sliding_window + kMaxSpeculativeTokens;
}

void MtpDrafter::catch_up(MtpState& state, std::span<const std::uint32_t> tokens, std::size_t left) const {
  state.skip_gap();
  while (state.pending.size() > left) {
    const std::size_t rows = std::min(state.pending.size() - left, kCatchUpRows);
    Rows streams(rows, state.pending.front().size());
    state.copy_pending(rows, streams, 0);
    const auto next = tokens.subspan(static_cast<std::size_t>(state.cache.length()) + 1, rows);
    run_mtp(model_, std::vector<MtpItem>{{&state.cache, next, 0, LogitsWanted::kNone}}, streams);
    state.pending.erase(state.pending.begin(), state.pending.begin() + static_cast<std::ptrdiff_t>(rows));
  }
}

void MtpDrafter::observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const {
  struct CatchingUp {
    MtpState* state;
    std::span<const std::uint32_t> tokens;
    std::size_t rows;
  };
  std::vector<CatchingUp> catching_up;
  std::size_t rows = 0;
  for (const ObservedItem& item : items) {
    MtpState& state = state_of<MtpState>(item.state);
    // All but the last, which the token after it completes.
    if (item.catch_up) catch_up(state, item.tokens, 1);
    for (std::size_t r = item.first_row; r < item.first_row + item.rows; ++r) {
      const std::span<const float> row = streams[0][r];
      state.pending.emplace_back(row.begin(), row.end());
    }
    state.observed += item.rows;
    // The token after the last position is unknown or was just generated; that position is left for draft().
    if (!item.catch_up) {
      while (state.pending.size() > most_pending()) state.pending.pop_front();
    } else if (state.pending.size() > 1) {
      catching_up.push_back({&state, item.tokens, state.pending.size() - 1});
      rows += catching_up.back().rows;
    }
  }
  if (catching_up.empty()) return;
  Rows input(rows, streams[0].cols());
  std::vector<MtpItem> batch;
  rows = 0;
  for (const CatchingUp& each : catching_up) {
    each.state->copy_pending(each.rows, input, rows);
    const auto next = each.tokens.subspan(static_cast<std::size_t>(each.state->cache.length()) + 1, each.rows);
    batch.push_back({&each.state->cache, next, rows, LogitsWanted::kNone});
    rows += each.rows;
  }
  run_mtp(model_, batch, input);
  for (const CatchingUp& each : catching_up) {
    std::deque<std::vector<float>>& pending = each.state->pending;
    pending.erase(pending.begin(), pending.end() - 1);
  }
}

std::vector<std::vector<DraftToken>> MtpDrafter::draft(std::span<const DraftItem> items) const {
  struct Drafting {
    std::size_t item;
    MtpState* state;
    std::vector<std::uint32_t> next_tokens;
    std::size_t first_row;  // of the item's streams
  };
  std::vector<Drafting> drafting;
  std::size_t rows = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    MtpState& state = state_of<MtpState>(items[i].state);
    catch_up(state, items[i].tokens, kMaxSpeculativeTokens + 1);
    const auto next = items[i].tokens.subspan(static_cast<std::size_t>(state.cache.length()) + 1);
    drafting.push_back({i, &state, {next.begin(), next.end()}, rows});
    rows += state.pending.size();
  }
  Rows streams(rows, model_.config().hc_mult * model_.config().hidden_size);
  for (const Drafting& d : drafting) d.state->copy_pending(d.state->pending.size(), streams, d.first_row);
  std::vector<std::vector<DraftToken>> drafts(items.size());
  while (!drafting.empty()) {
    std::vector<MtpItem> batch;
    for (const Drafting& d : drafting) batch.push_back({&d.state->cache, d.next_tokens, d.first_row});
    ForwardResult result = run_mtp(model_, batch, streams, 0, MtpHead::kNarrow);
    std::size_t row = 0;
    for (std::size_t i = 0; i < drafting.size(); ++i) {
      Drafting& d = drafting[i];
      const DraftItem& item = items[d.item];
      require_finite(result.logits[i]);
      row += d.next_tokens.size();
      d.next_tokens.clear();
      if (item.budget != nullptr && !item.admits(highest_probability(result.logits[i]))) continue;
      drafts[d.item].push_back(item.sampler->draft(result.logits[i]));
      d.first_row = row - 1;
      if (drafts[d.item].size() < item.max_tokens) d.next_tokens = {drafts[d.item].back().id};
    }
    streams = std::move(result.streams);
    std::erase_if(drafting, [&](const Drafting& d) { return d.next_tokens.empty(); });
  }
  for (const DraftItem& item : items) {
    // Entries computed from the block's own streams are dropped: the model's streams will replace them.
    MtpState& state = state_of<MtpState>(item.state);
    state.cache.truncate(item.tokens.size() - 1);
    state.pending.clear();
  }
  return drafts;
}

}  // namespace outrider
