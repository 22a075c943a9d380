#include "outrider/decoding/mtp_drafter.h"

#include <algorithm>
#include <utility>

#include "outrider/architectures/deepseek_v4/mtp.h"
#include "outrider/decoding/copy_rows.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

struct MtpState : DrafterState {
  explicit MtpState(Sequence empty) : cache(std::move(empty)) {}

  std::size_t reusable(std::size_t common) const override {
    if (common > cache.length()) return common;
    // The block has been run past the last common token, with another token after it. The streams at that position are
    // gone, so the token must be processed again.
    return common != 0 && cache.can_truncate(common - 1) ? common - 1 : 0;
  }
  void truncate(std::size_t length) override {
    if (length < cache.length()) cache.truncate(length);
    pending = rows_of(pending, 0, std::min<std::size_t>(pending.rows(), length - cache.length()));
  }

  Sequence cache;  // has processed each position together with the token that follows it
  Rows pending;    // the model's streams at the positions after the cache
};

MtpState& state_of(DrafterState* state) {
  auto* const own = dynamic_cast<MtpState*>(state);
  if (own == nullptr) throw Error("The sequence has no MTP cache; create it with the decoder that advances it.");
  return *own;
}

}  // namespace

MtpDrafter::MtpDrafter(const Model& model, std::uint64_t narrow_head_from)
    : model_(model), last_layer_(model.config().layers.size() - 1) {
  if (model.mtp_blocks() == 0) throw Error("The checkpoint has no MTP block for speculative decoding.");
  prepare_narrow_head(model, narrow_head_from);
}

std::unique_ptr<DrafterState> MtpDrafter::new_state(const SequenceLimits& limits) const {
  return std::make_unique<MtpState>(new_mtp_cache(model_, limits));
}

std::uint64_t MtpDrafter::state_bytes(const SequenceLimits& limits) const {
  return mtp_cache_bytes(model_, limits);
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
    MtpState& state = state_of(item.state);
    Rows pending(state.pending.rows() + item.rows, streams[0].cols());
    copy_rows(state.pending, 0, state.pending.rows(), pending, 0);
    copy_rows(streams[0], item.first_row, item.rows, pending, state.pending.rows());
    state.pending = std::move(pending);
    // The token after the last position is unknown or was just generated; that position is left for draft().
    if (!item.catch_up || state.pending.rows() < 2) continue;
    catching_up.push_back({&state, item.tokens, state.pending.rows() - 1});
    rows += catching_up.back().rows;
  }
  if (catching_up.empty()) return;
  Rows input(rows, streams[0].cols());
  std::vector<MtpItem> batch;
  rows = 0;
  for (const CatchingUp& each : catching_up) {
    copy_rows(each.state->pending, 0, each.rows, input, rows);
    const auto next = each.tokens.subspan(static_cast<std::size_t>(each.state->cache.length()) + 1, each.rows);
    batch.push_back({&each.state->cache, next, rows, LogitsWanted::kNone});
    rows += each.rows;
  }
  run_mtp(model_, batch, input);
  for (const CatchingUp& each : catching_up) each.state->pending = rows_of(each.state->pending, each.rows, 1);
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
    MtpState& state = state_of(items[i].state);
    const auto next = items[i].tokens.subspan(static_cast<std::size_t>(state.cache.length()) + 1);
    drafting.push_back({i, &state, {next.begin(), next.end()}, rows});
    rows += state.pending.rows();
  }
  Rows streams(rows, model_.config().hc_mult * model_.config().hidden_size);
  for (const Drafting& d : drafting) copy_rows(d.state->pending, 0, d.state->pending.rows(), streams, d.first_row);
  std::vector<std::vector<DraftToken>> drafts(items.size());
  while (!drafting.empty()) {
    std::vector<MtpItem> batch;
    for (const Drafting& d : drafting) batch.push_back({&d.state->cache, d.next_tokens, d.first_row});
    ForwardResult result = run_mtp(model_, batch, streams, 0, MtpHead::kNarrow);
    std::size_t row = 0;
    for (std::size_t i = 0; i < drafting.size(); ++i) {
      Drafting& d = drafting[i];
      require_finite(result.logits[i]);
      drafts[d.item].push_back(items[d.item].sampler->draft(result.logits[i]));
      row += d.next_tokens.size();
      d.first_row = row - 1;
      d.next_tokens = {drafts[d.item].back().id};
    }
    streams = std::move(result.streams);
    std::erase_if(drafting, [&](const Drafting& d) { return drafts[d.item].size() == items[d.item].max_tokens; });
  }
  for (const DraftItem& item : items) {
    // Entries computed from the block's own streams are dropped: the model's streams will replace them.
    MtpState& state = state_of(item.state);
    state.cache.truncate(item.tokens.size() - 1);
    state.pending = Rows();
  }
  return drafts;
}

}  // namespace outrider
