#include "outrider/decoding/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "outrider/util/error.h"

namespace outrider {

void check_length(std::size_t prompt, std::uint64_t max_tokens, std::uint64_t context) {
  if (prompt == 0) throw Error("The prompt is empty; it must have at least one token.");
  if (max_tokens == 0) throw Error("max_tokens is 0; it must be at least 1.");
  if (prompt > context || max_tokens > context - prompt) {
    throw Error(
        fmt::format("The prompt has {} tokens and max_tokens is {}, but the context length is {} tokens "
                    "(max_position_embeddings, or --max-model-len). Shorten the prompt or reduce max_tokens.",
                    prompt, max_tokens, context));
  }
}

void check_token_ids(const GenerationParams& params, std::uint64_t vocab_size) {
  const auto check = [&](const char* name, std::uint32_t token) {
    if (token < vocab_size) return;
    throw Error(fmt::format("{}: token id {} is out of range (vocab_size {}).", name, token, vocab_size));
  };
  for (const SamplingParams::Bias& bias : params.sampling.logit_bias) check("logit_bias", bias.token);
  for (const std::uint32_t token : params.logprob_token_ids) check("logprob_token_ids", token);
  const OutputRules& rules = params.rules;
  for (const std::uint32_t token : rules.end_tokens) check("min_tokens", token);
  if (rules.allowed_token_ids) {
    for (const std::uint32_t token : *rules.allowed_token_ids) check("allowed_token_ids", token);
  }
  for (const std::vector<std::uint32_t>& word : rules.bad_words) {
    if (word.empty()) throw Error("bad_words: a word has no tokens.");
    for (const std::uint32_t token : word) check("bad_words", token);
  }
  if (rules.thinking_budget) check("thinking_token_budget", rules.thinking_budget->end);
}

void SpeculationCounts::add(const DraftRound& round, std::size_t num_speculative_tokens) {
  left_out_tokens += round.left_out;
  if (round.drafted == 0) return;
  accepted_per_position.resize(num_speculative_tokens);
  ++drafts;
  draft_tokens += round.drafted;
  accepted_tokens += round.accepted;
  for (std::size_t j = 0; j < round.accepted; ++j) ++accepted_per_position[j];
}

double SpeculationCounts::acceptance_rate() const {
  return draft_tokens == 0 ? 0 : static_cast<double>(accepted_tokens) / static_cast<double>(draft_tokens);
}

double SpeculationCounts::acceptance_length() const {
  return drafts == 0 ? 1 : 1 + static_cast<double>(accepted_tokens) / static_cast<double>(drafts);
}

SequenceLimits Generation::limits(const Model& model, std::size_t prompt_tokens, const GenerationParams& params) {
  check_length(prompt_tokens, params.max_tokens, model.config().max_position_embeddings);
  return {prompt_tokens + params.max_tokens, kMaxRollback};
}

SpeculationCounts& SpeculationCounts::operator+=(const SpeculationCounts& other) {
  drafts += other.drafts;
  draft_tokens += other.draft_tokens;
  accepted_tokens += other.accepted_tokens;
  left_out_tokens += other.left_out_tokens;
  accepted_per_position.resize(std::max(accepted_per_position.size(), other.accepted_per_position.size()));
  for (std::size_t i = 0; i < other.accepted_per_position.size(); ++i) {
    accepted_per_position[i] += other.accepted_per_position[i];
  }
  return *this;
}

namespace {

GenerationParams checked(GenerationParams params, std::size_t prompt_tokens, std::uint64_t max_length,
                         std::uint64_t vocab_size) {
  check_length(prompt_tokens, params.max_tokens, max_length);
  validate(params.sampling);
  check_token_ids(params, vocab_size);
  return params;
}

}  // namespace

Generation::Generation(const Model& model, ProcessedSequence&& from, std::vector<std::uint32_t> prompt,
                       GenerationParams params)
    : params_(checked(std::move(params), prompt.size(), from.max_length(), model.config().vocab_size)),
      tokens_(std::move(prompt)),
      prompt_tokens_(tokens_.size()),
      sampler_(params_.sampling, params_.seed, tokens_, params_.reproducible, params_.rules),
      processed_(std::move(from)) {
  if (params_.prompt_logprobs) {
    processed_.clear();  // each of its tokens needs logits
  } else {
    processed_.truncate_for(tokens_);
  }
  reused_tokens_ = processed_.tokens().size();
}

void Generation::begin_step() {
  new_tokens_.clear();
  round_ = {};
  stepped_ = false;
}

void Generation::recover() {
  sampler_.roll_back();
  if (stepped_) return processed_.skip_drafter();
  if (prompt_tokens_left() == 0) return processed_.drop_unkept();
  // A pass over more tokens than can be rolled back may have overwritten those before them.
  processed_.clear();
  prompt_logprobs_.clear();
  reused_tokens_ = 0;
}

void Generation::keep(std::span<const std::uint32_t> tokens) {
  processed_.keep(tokens);
  stepped_ = true;
}

std::size_t Generation::max_draft_tokens() const {
  if (finished_ || prompt_tokens_left() != 0) return 0;
  return static_cast<std::size_t>(tokens_left() - 1);
}

void Generation::add_prompt_logprobs(const Rows& logits, std::size_t first_row, std::size_t count) {
  const std::size_t start = processed_.tokens().size();
  for (std::size_t j = 0; j < count && start + j + 1 < prompt_tokens_; ++j) {
    const std::span<const float> row = logits[first_row + j];
    require_finite(row);
    prompt_logprobs_.push_back(logprobs(row, tokens_[start + j + 1], *params_.prompt_logprobs));
  }
}

void Generation::verify(std::span<const DraftToken> drafts, std::size_t left_out, std::size_t num_speculative_tokens,
                        const Rows& logits, std::size_t first_row) {
  for (std::size_t j = 0; j <= drafts.size(); ++j) require_finite(logits[first_row + j]);
  std::vector<Distribution> verifier;
  for (std::size_t j = 0; j <= drafts.size(); ++j) {
    verifier.push_back(sampler_.distribution(logits[first_row + j]));
    // A drafter that does not apply the mask may have drafted tokens that the mask forbids.
    if (j == drafts.size() || verifier.back().probability(drafts[j].id) == 0) break;
    sampler_.assume(drafts[j].id);
  }
  sampler_.roll_back();
  const Verdict verdict = sampler_.verify(drafts, verifier);
  round_ = {drafts.size(), verdict.accepted, left_out};
  recent_acceptance_.add(static_cast<double>(std::min(drafts.size(), verdict.accepted + 1)),
                         static_cast<double>(verdict.accepted));
  counts_.add(round_, num_speculative_tokens);
  const auto can_go_on = [&] {
    if (finished()) return false;
    error_ = sampler_.mask_error();
    return error_.empty();
  };
  for (std::size_t j = 0; j < verdict.accepted && can_go_on(); ++j) {
    append(drafts[j].id, true, logits[first_row + j]);
  }
  if (!can_go_on()) return;
  if (verifier[verdict.accepted].none()) {
    error_ = fmt::format(
        "No token is allowed as number {} of the output: allowed_token_ids, bad_words and min_tokens, with the "
        "constraint "
        "on the output if there is one, leave none. Relax one of them.",
        tokens_.size() - prompt_tokens_ + 1);
    return;
  }
  append(verdict.next, false, logits[first_row + verdict.accepted]);
}

void Generation::append(std::uint32_t token, bool drafted, std::span<const float> logits) {
  tokens_.push_back(token);
  sampler_.append(token);
  new_tokens_.push_back({token, drafted, std::nullopt});
  if (params_.logprobs && params_.logprob_token_ids.empty()) {
    new_tokens_.back().logprobs = logprobs(logits, token, *params_.logprobs);
  } else if (params_.logprobs) {
    new_tokens_.back().logprobs = logprobs(logits, token, params_.logprob_token_ids);
  }
  const std::vector<std::uint32_t>& stops = params_.stop_token_ids;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
    finished_ = FinishReason::kStop;
  } else if (tokens_left() == 0) {
    finished_ = FinishReason::kLength;
  }
}

}  // namespace outrider
