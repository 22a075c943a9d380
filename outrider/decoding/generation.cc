#include "outrider/decoding/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "outrider/util/error.h"

namespace outrider {

void check_length(std::size_t prompt, std::uint64_t max_tokens, std::uint64_t context) {
  if (prompt == 0) throw Error("The prompt is empty: there is no token to go on from.");
  if (max_tokens == 0) throw Error("max_tokens is 0; it must be at least 1.");
  if (prompt > context || max_tokens > context - prompt) {
    throw Error(
        fmt::format("The prompt has {} tokens and {} more are wanted, but the model's context is {} tokens "
                    "(max_position_embeddings, or --max-model-len). Shorten the prompt or ask for fewer.",
                    prompt, max_tokens, context));
  }
}

void SpeculationCounts::add(const DraftRound& round, std::size_t num_speculative_tokens) {
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
  accepted_per_position.resize(std::max(accepted_per_position.size(), other.accepted_per_position.size()));
  for (std::size_t i = 0; i < other.accepted_per_position.size(); ++i) {
    accepted_per_position[i] += other.accepted_per_position[i];
  }
  return *this;
}

Generation::Generation(const Model& model, std::vector<std::uint32_t> prompt, GenerationParams params)
    : Generation(model, ProcessedText(model.new_sequence(limits(model, prompt.size(), params))), prompt, params) {}

Generation::Generation(const Model& model, ProcessedText from, std::vector<std::uint32_t> prompt,
                       GenerationParams params)
    : params_(std::move(params)),
      random_(params_.seed),
      tokens_(std::move(prompt)),
      prompt_tokens_(tokens_.size()),
      text_(std::move(from)) {
  check_length(tokens_.size(), params_.max_tokens, text_.max_length());
  validate(params_.sampling);
  for (const SamplingParams::Bias& bias : params_.sampling.logit_bias) {
    if (bias.token >= model.config().vocab_size) {
      throw Error(fmt::format("logit_bias: token {} is not of the vocabulary, which has {} tokens.", bias.token,
                              model.config().vocab_size));
    }
  }
  params_.prompt_logprobs = params_.prompt_logprobs && params_.logprobs;
  if (params_.prompt_logprobs) {
    text_.clear();  // each of its tokens needs logits
  } else {
    text_.cut(tokens_);
  }
  reused_tokens_ = text_.tokens().size();
  for (const std::uint32_t token : tokens_) history_.add_prompt(token);
}

Distribution Generation::distribution(std::span<const float> logits) const {
  const SamplingParams& sampling = params_.sampling;
  if (!sampling.penalizes() && sampling.logit_bias.empty() && mask_ == nullptr) return {logits, sampling};
  std::vector<float> changed(logits.begin(), logits.end());
  for (const SamplingParams::Bias& bias : sampling.logit_bias) changed[bias.token] += bias.bias;
  history_.penalize(sampling, changed);
  if (mask_ != nullptr) mask_->apply(changed);
  return {changed, sampling};
}

void Generation::assume(std::uint32_t draft) {
  history_.add(draft);
  assumed_.push_back(draft);
  if (mask_ != nullptr) mask_->advance(draft);
}

void Generation::take_back_drafts() {
  for (const std::uint32_t draft : assumed_) history_.remove(draft);
  if (mask_ != nullptr) mask_->rollback(assumed_.size());
  assumed_.clear();
}

void Generation::write(std::uint32_t token, bool drafted, std::span<const float> logits) {
  tokens_.push_back(token);
  history_.add(token);
  if (mask_ != nullptr) mask_->advance(token);
  written_.push_back({token, drafted, std::nullopt});
  if (params_.logprobs) written_.back().logprobs = logprobs(logits, token, *params_.logprobs);
  const std::vector<std::uint32_t>& stops = params_.stop_token_ids;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
    finished_ = FinishReason::kStop;
  } else if (tokens_left() == 0) {
    finished_ = FinishReason::kLength;
  }
}

ProcessedText Generation::take_text() && {
  const auto processed = static_cast<std::ptrdiff_t>(text_.sequence_.length());
  text_.tokens_.assign(tokens_.begin(), tokens_.begin() + processed);
  return std::move(text_);
}

}  // namespace outrider
