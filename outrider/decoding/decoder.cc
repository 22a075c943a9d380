#include "outrider/decoding/decoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "outrider/decoding/copy_rows.h"
#include "outrider/decoding/rejection.h"
#include "outrider/util/error.h"

namespace outrider {
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
  std::vector<StepItem> items;
  for (Generation* g : generations) items.push_back({g, options_.chunk});
  step(items);
}

void Decoder::step(std::span<const StepItem> items) const {
  std::vector<StepItem> running;
  for (const StepItem& item : items) {
    Generation& g = *item.generation;
    g.written_.clear();
    g.drafts_.clear();
    g.drafter_.clear();
    g.round_ = {};
    if (!g.finished()) running.push_back(item);
  }
  if (running.empty()) return;
  if (options_.num_speculative_tokens != 0) draft(running);
  verify(running);
}

void Decoder::draft(std::span<const StepItem> running) const {
  // What was written last is to be processed next; drafts follow it. A text that ends needs none. Nothing is drafted
  // before the first token is written, so that what is drafted does not depend on how prompts are cut into steps.
  struct Drafting {
    Generation* generation;
    std::vector<std::uint32_t> next_tokens;
    std::size_t wanted;
    std::size_t last_row = 0;  // of its streams in the pass before
  };
  std::vector<Drafting> drafting;
  for (const StepItem& item : running) {
    Generation* g = item.generation;
    const std::size_t wanted = std::min<std::size_t>(options_.num_speculative_tokens, g->tokens_left() - 1);
    if (g->prompt_tokens_left() != 0 || wanted == 0) continue;
    const auto known = g->tokens_.begin() + static_cast<std::ptrdiff_t>(g->sequence().mtp_length()) + 1;
    drafting.push_back({g, {known, g->tokens_.end()}, wanted});
  }
  Rows streams;
  for (std::size_t round = 0; !drafting.empty(); ++round) {
    std::vector<DraftItem> items;
    if (round == 0) {
      std::size_t rows = 0;
      for (const Drafting& d : drafting) rows += d.generation->pending().rows();
      streams = Rows(rows, drafting[0].generation->pending().cols());
      rows = 0;
      for (Drafting& d : drafting) {
        const Rows& pending = d.generation->pending();
        copy_rows(pending, 0, pending.rows(), streams, rows);
        d.last_row = rows;
        rows += pending.rows();
      }
    }
    for (const Drafting& d : drafting) {
      items.push_back({&d.generation->sequence(), d.next_tokens, d.last_row, LogitsWanted::kLast});
    }
    ForwardResult result = model_.draft(items, streams);
    std::size_t row = 0;
    for (std::size_t i = 0; i < drafting.size(); ++i) {
      Drafting& d = drafting[i];
      require_finite(result.logits[i]);
      Generation& g = *d.generation;
      g.drafter_.push_back(g.distribution(result.logits[i]));
      g.drafts_.push_back(g.drafter_.back().sample(g.random_));
      g.assume(g.drafts_.back());
      row += d.next_tokens.size();
      d.last_row = row - 1;
      d.next_tokens = {g.drafts_.back()};
    }
    streams = std::move(result.streams);
    std::erase_if(drafting, [](const Drafting& d) { return d.generation->drafts_.size() == d.wanted; });
  }
  for (const StepItem& item : running) {
    Generation& g = *item.generation;
    if (g.drafts_.empty()) continue;
    g.take_back_drafts();
    // What the block made of its own streams is not kept: the model's follow.
    g.sequence().truncate_mtp(g.sequence().length());
    g.pending() = Rows();
  }
}

void Decoder::verify(std::span<const StepItem> running) const {
  std::vector<std::vector<std::uint32_t>> tokens;
  std::vector<ForwardItem> items;
  for (const StepItem& item : running) {
    const Generation& g = *item.generation;
    const auto from = g.tokens_.end() - static_cast<std::ptrdiff_t>(g.unprocessed());
    const std::size_t count = std::min(g.unprocessed(), item.prompt_tokens);
    tokens.emplace_back(from, from + static_cast<std::ptrdiff_t>(count));
    tokens.back().insert(tokens.back().end(), g.drafts_.begin(), g.drafts_.end());
  }
  std::vector<char> reaches_end;
  std::vector<char> prompt_logprobs;
  for (std::size_t i = 0; i < running.size(); ++i) {
    Generation& g = *running[i].generation;
    reaches_end.push_back(tokens[i].size() >= g.unprocessed());
    prompt_logprobs.push_back(g.params_.prompt_logprobs && g.prompt_tokens_left() != 0);
    const LogitsWanted wanted = !g.drafts_.empty() || prompt_logprobs[i] != 0 ? LogitsWanted::kAll
                                : reaches_end[i] != 0                         ? LogitsWanted::kLast
                                                                              : LogitsWanted::kNone;
    items.push_back({&g.sequence(), tokens[i], wanted});
  }
  const ForwardResult result = model_.forward(items);
  std::size_t row = 0;
  std::size_t logits_row = 0;
  for (std::size_t i = 0; i < running.size(); ++i) {
    Generation& g = *running[i].generation;
    Sequence& sequence = g.sequence();
    const std::uint64_t start = sequence.length() - tokens[i].size();
    const std::size_t logits_rows = items[i].logits == LogitsWanted::kAll    ? tokens[i].size()
                                    : items[i].logits == LogitsWanted::kLast ? 1
                                                                             : 0;
    if (prompt_logprobs[i] != 0) {
      for (std::size_t j = 0; j < logits_rows && start + j + 1 < g.prompt_tokens_; ++j) {
        require_finite(result.logits[logits_row + j]);
        g.prompt_logprobs_.push_back(
            logprobs(result.logits[logits_row + j], g.tokens_[start + j + 1], *g.params_.logprobs));
      }
    }
    logits_row += logits_rows;
    if (reaches_end[i] != 0) {
      judge(g, result.logits, logits_row - g.drafts_.size() - 1);
      // All but the last of the tokens written are processed.
      sequence.truncate(start + tokens[i].size() - g.drafts_.size() + g.written_.size() - 1);
    }
    if (options_.num_speculative_tokens != 0) {
      const auto kept = static_cast<std::size_t>(sequence.length() - start);
      Rows pending(g.pending().rows() + kept, result.streams.cols());
      copy_rows(g.pending(), 0, g.pending().rows(), pending, 0);
      copy_rows(result.streams, row, kept, pending, g.pending().rows());
      g.pending() = std::move(pending);
    }
    row += tokens[i].size();
  }
  if (options_.num_speculative_tokens != 0) feed_prompts(running);
}

void Decoder::judge(Generation& g, const Rows& logits, std::size_t first_row) const {
  std::vector<Distribution> verifier;
  for (std::size_t j = 0; j <= g.drafts_.size(); ++j) {
    require_finite(logits[first_row + j]);
    verifier.push_back(g.distribution(logits[first_row + j]));
    if (j < g.drafts_.size()) g.assume(g.drafts_[j]);
  }
  g.take_back_drafts();
  const Verdict verdict = outrider::verify(g.drafts_, g.drafter_, verifier, g.random_);
  g.round_ = {g.drafts_.size(), verdict.accepted};
  g.counts_.add(g.round_, options_.num_speculative_tokens);
  for (std::size_t j = 0; j < verdict.accepted && !g.finished(); ++j) {
    g.write(g.drafts_[j], true, logits[first_row + j]);
  }
  if (!g.finished()) g.write(verdict.next, false, logits[first_row + verdict.accepted]);
}

void Decoder::feed_prompts(std::span<const StepItem> running) const {
  // The MTP block has a cache of its own, which must cover the prompt: acceptance is poor otherwise. The token after
  // the last position is not known yet, or was just written; that position waits for the next drafts.
  std::vector<Generation*> feeding;
  std::size_t rows = 0;
  for (const StepItem& item : running) {
    Generation& g = *item.generation;
    if (g.finished() || !g.drafts_.empty() || g.pending().rows() < 2) continue;
    feeding.push_back(&g);
    rows += g.pending().rows() - 1;
  }
  if (feeding.empty()) return;
  Rows streams(rows, feeding[0]->pending().cols());
  std::vector<DraftItem> items;
  rows = 0;
  for (Generation* g : feeding) {
    const std::size_t count = g->pending().rows() - 1;
    copy_rows(g->pending(), 0, count, streams, rows);
    const std::size_t first = static_cast<std::size_t>(g->sequence().mtp_length()) + 1;
    items.push_back({&g->sequence(), std::span(g->tokens_).subspan(first, count), rows, LogitsWanted::kNone});
    rows += count;
  }
  model_.draft(items, streams);
  for (Generation* g : feeding) g->pending() = rows_of(g->pending(), g->pending().rows() - 1, 1);
}

}  // namespace outrider
