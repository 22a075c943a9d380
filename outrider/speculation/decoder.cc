#include "outrider/speculation/decoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "outrider/speculation/rejection.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

void copy_rows(const Rows& from, std::size_t first, std::size_t count, Rows& to, std::size_t at) {
  for (std::size_t i = 0; i < count; ++i) std::ranges::copy(from[first + i], to[at + i].begin());
}

Rows rows_of(const Rows& from, std::size_t first, std::size_t count) {
  Rows out(count, from.cols());
  copy_rows(from, first, count, out, 0);
  return out;
}

}  // namespace

Decoder::Decoder(const Model& model, DecoderOptions options) : model_(model), options_(options) {
  if (options.num_speculative_tokens > kMaxSpeculativeTokens) {
    throw Error(fmt::format("num_speculative_tokens is {}; it must be at most {}.", options.num_speculative_tokens,
                            kMaxSpeculativeTokens));
  }
  if (options.num_speculative_tokens != 0 && model.mtp_blocks() == 0) {
    throw Error("The checkpoint has no MTP block to speculate with.");
  }
}

void Decoder::step(std::span<Generation* const> generations) const {
  std::vector<Generation*> running;
  for (Generation* g : generations) {
    g->written_.clear();
    g->drafts_.clear();
    g->drafter_.clear();
    if (!g->finished()) running.push_back(g);
  }
  if (running.empty()) return;
  if (options_.num_speculative_tokens != 0) draft(running);
  verify(running);
}

void Decoder::draft(std::span<Generation* const> generations) const {
  // What was written last is to be processed next; drafts follow it. A text that ends needs none.
  struct Drafting {
    Generation* generation;
    std::vector<std::uint32_t> next_tokens;
    std::size_t wanted;
    std::size_t last_row = 0;  // of its streams in the pass before
  };
  std::vector<Drafting> drafting;
  for (Generation* g : generations) {
    const std::size_t wanted = std::min<std::size_t>(options_.num_speculative_tokens, g->tokens_left() - 1);
    if (g->sequence_.length() == 0 || g->unprocessed() != 1 || wanted == 0) continue;
    const auto known = g->tokens_.begin() + static_cast<std::ptrdiff_t>(g->sequence_.mtp_length()) + 1;
    drafting.push_back({g, {known, g->tokens_.end()}, wanted});
  }
  Rows streams;
  for (std::size_t round = 0; !drafting.empty(); ++round) {
    std::vector<DraftItem> items;
    if (round == 0) {
      std::size_t rows = 0;
      for (const Drafting& d : drafting) rows += d.generation->pending_.rows();
      streams = Rows(rows, drafting[0].generation->pending_.cols());
      rows = 0;
      for (Drafting& d : drafting) {
        const Rows& pending = d.generation->pending_;
        copy_rows(pending, 0, pending.rows(), streams, rows);
        d.last_row = rows;
        rows += pending.rows();
      }
    }
    for (const Drafting& d : drafting) {
      items.push_back({&d.generation->sequence_, d.next_tokens, d.last_row, LogitsWanted::kLast});
    }
    ForwardResult result = model_.draft(items, streams);
    std::size_t row = 0;
    for (std::size_t i = 0; i < drafting.size(); ++i) {
      Drafting& d = drafting[i];
      require_finite(result.logits[i]);
      Generation& g = *d.generation;
      g.drafter_.push_back(g.distribution(result.logits[i]));
      g.drafts_.push_back(g.drafter_.back().sample(g.random_));
      g.history_.add(g.drafts_.back());
      row += d.next_tokens.size();
      d.last_row = row - 1;
      d.next_tokens = {g.drafts_.back()};
    }
    streams = std::move(result.streams);
    std::erase_if(drafting, [](const Drafting& d) { return d.generation->drafts_.size() == d.wanted; });
  }
  for (Generation* g : generations) {
    for (const std::uint32_t token : g->drafts_) g->history_.remove(token);
    if (g->drafts_.empty()) continue;
    // What the block made of its own streams is not kept: the model's follow.
    g->sequence_.truncate_mtp(g->sequence_.length());
    g->pending_ = Rows();
  }
}

void Decoder::verify(std::span<Generation* const> generations) const {
  std::vector<std::vector<std::uint32_t>> tokens;
  std::vector<ForwardItem> items;
  for (const Generation* g : generations) {
    const auto from = g->tokens_.end() - static_cast<std::ptrdiff_t>(g->unprocessed());
    const std::size_t count = std::min(g->unprocessed(), options_.chunk);
    tokens.emplace_back(from, from + static_cast<std::ptrdiff_t>(count));
    tokens.back().insert(tokens.back().end(), g->drafts_.begin(), g->drafts_.end());
  }
  for (std::size_t i = 0; i < generations.size(); ++i) {
    Generation* g = generations[i];
    const bool reaches_end = tokens[i].size() >= g->unprocessed();
    const LogitsWanted wanted = !g->drafts_.empty() ? LogitsWanted::kAll
                                : reaches_end       ? LogitsWanted::kLast
                                                    : LogitsWanted::kNone;
    items.push_back({&g->sequence_, tokens[i], wanted});
  }
  const ForwardResult result = model_.forward(items);
  std::size_t row = 0;
  std::size_t logits_row = 0;
  for (std::size_t i = 0; i < generations.size(); ++i) {
    Generation& g = *generations[i];
    const std::uint64_t start = g.sequence_.length() - tokens[i].size();
    if (items[i].logits != LogitsWanted::kNone) {
      judge(g, result.logits, logits_row);
      logits_row += g.drafts_.size() + 1;
      // All but the last of the tokens written are processed.
      g.sequence_.truncate(start + tokens[i].size() - g.drafts_.size() + g.written_.size() - 1);
    }
    if (options_.num_speculative_tokens != 0) {
      const auto kept = static_cast<std::size_t>(g.sequence_.length() - start);
      Rows pending(g.pending_.rows() + kept, result.streams.cols());
      copy_rows(g.pending_, 0, g.pending_.rows(), pending, 0);
      copy_rows(result.streams, row, kept, pending, g.pending_.rows());
      g.pending_ = std::move(pending);
    }
    row += tokens[i].size();
  }
  if (options_.num_speculative_tokens != 0) feed_prompts(generations);
}

void Decoder::judge(Generation& g, const Rows& logits, std::size_t first_row) const {
  std::vector<Distribution> verifier;
  for (std::size_t j = 0; j <= g.drafts_.size(); ++j) {
    require_finite(logits[first_row + j]);
    verifier.push_back(g.distribution(logits[first_row + j]));
    if (j < g.drafts_.size()) g.history_.add(g.drafts_[j]);
  }
  for (const std::uint32_t token : g.drafts_) g.history_.remove(token);
  const Verdict verdict = outrider::verify(g.drafts_, g.drafter_, verifier, g.random_);
  if (!g.drafts_.empty()) {
    SpeculationCounts& counts = g.counts_;
    counts.accepted_per_position.resize(options_.num_speculative_tokens);
    ++counts.drafts;
    counts.draft_tokens += g.drafts_.size();
    counts.accepted_tokens += verdict.accepted;
    for (std::size_t j = 0; j < verdict.accepted; ++j) ++counts.accepted_per_position[j];
  }
  for (std::size_t j = 0; j < verdict.accepted && !g.finished(); ++j) g.write(g.drafts_[j], true);
  if (!g.finished()) g.write(verdict.next, false);
}

void Decoder::feed_prompts(std::span<Generation* const> generations) const {
  // The MTP block has a cache of its own, which must cover the prompt: acceptance is poor otherwise. The token after
  // the last position is not known yet, or was just written; that position waits for the next drafts.
  for (Generation* g : generations) {
    if (g->finished() || !g->drafts_.empty() || g->pending_.rows() < 2) continue;
    const std::size_t count = g->pending_.rows() - 1;
    const std::size_t first = static_cast<std::size_t>(g->sequence_.mtp_length()) + 1;
    const DraftItem item{&g->sequence_, std::span(g->tokens_).subspan(first, count), 0, LogitsWanted::kNone};
    model_.draft({&item, 1}, g->pending_);
    g->pending_ = rows_of(g->pending_, count, 1);
  }
}

}  // namespace outrider
