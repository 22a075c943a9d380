#include "outrider/speculation/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "outrider/util/error.h"

namespace outrider {
namespace {

SequenceLimits limits_of(const Model& model, std::size_t prompt, const GenerationParams& params) {
  const std::uint64_t context = model.config().max_position_embeddings;
  if (prompt == 0) throw Error("The prompt is empty: there is no token to go on from.");
  if (params.max_tokens == 0) throw Error("max_tokens is 0; it must be at least 1.");
  if (prompt > context || params.max_tokens > context - prompt) {
    throw Error(
        fmt::format("The prompt has {} tokens and {} more are wanted, but the model's context is {} tokens "
                    "(max_position_embeddings). Shorten the prompt or ask for fewer.",
                    prompt, params.max_tokens, context));
  }
  return {prompt + params.max_tokens, 2 * kMaxSpeculativeTokens};
}

}  // namespace

double SpeculationCounts::acceptance_rate() const {
  return draft_tokens == 0 ? 0 : static_cast<double>(accepted_tokens) / static_cast<double>(draft_tokens);
}

double SpeculationCounts::acceptance_length() const {
  return drafts == 0 ? 1 : 1 + static_cast<double>(accepted_tokens) / static_cast<double>(drafts);
}

Generation::Generation(const Model& model, std::vector<std::uint32_t> prompt, GenerationParams params)
    : params_(std::move(params)),
      random_(params_.seed),
      tokens_(std::move(prompt)),
      prompt_tokens_(tokens_.size()),
      sequence_(model.new_sequence(limits_of(model, tokens_.size(), params_))) {
  validate(params_.sampling);
  for (const std::uint32_t token : tokens_) history_.add_prompt(token);
}

Distribution Generation::distribution(std::span<const float> logits) const {
  if (!params_.sampling.penalizes()) return {logits, params_.sampling};
  std::vector<float> penalized(logits.begin(), logits.end());
  history_.penalize(params_.sampling, penalized);
  return {penalized, params_.sampling};
}

void Generation::write(std::uint32_t token, bool drafted) {
  tokens_.push_back(token);
  history_.add(token);
  written_.push_back({token, drafted});
  const std::vector<std::uint32_t>& stops = params_.stop_token_ids;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
    finished_ = FinishReason::kStop;
  } else if (tokens_left() == 0) {
    finished_ = FinishReason::kLength;
  }
}

}  // namespace outrider
