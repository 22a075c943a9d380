#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "outrider/architectures/model.h"
#include "outrider/decoding/logprobs.h"
#include "outrider/decoding/processed_sequence.h"
#include "outrider/decoding/sampling.h"
#include "outrider/decoding/sequence_sampler.h"
#include "outrider/decoding/token_mask.h"

namespace outrider {

struct GenerationParams {
  SamplingParams sampling;
  std::uint64_t seed = 0;
  std::uint64_t max_tokens = 16;              // written after the prompt, at least 1
  std::vector<std::uint32_t> stop_token_ids;  // the first of them ends the text; it is the last token
  std::optional<std::size_t> logprobs;        // tell them, with so many of the likeliest tokens
  bool prompt_logprobs = false;               // of the prompt's tokens too, where `logprobs` is set
};

enum class FinishReason { kStop, kLength };

// A token that was written.
struct WrittenToken {
  std::uint32_t id = 0;
  bool drafted = false;  // by the drafter, and accepted
  std::optional<TokenLogprobs> logprobs;
};

// One text's part in a step: the drafts made for it, and how many of them, the first ones, were accepted.
struct DraftRound {
  std::size_t drafted = 0;
  std::size_t accepted = 0;
};

struct SpeculationCounts {
  std::uint64_t drafts = 0;        // rounds of drafting
  std::uint64_t draft_tokens = 0;  // drafted in them
  std::uint64_t accepted_tokens = 0;
  std::vector<std::uint64_t> accepted_per_position;  // [num_speculative_tokens]

  // Rounds without drafts do not count.
  void add(const DraftRound& round, std::size_t num_speculative_tokens);
  double acceptance_rate() const;    // accepted of drafted tokens; 0 where nothing was drafted
  double acceptance_length() const;  // tokens a round gave, the verifier's own included
  SpeculationCounts& operator+=(const SpeculationCounts& other);
};

// Throws Error for an empty prompt, for max_tokens 0, and where both together exceed `context`.
void check_length(std::size_t prompt_tokens, std::uint64_t max_tokens, std::uint64_t context);

// One sequence that is being generated. Decoder::start makes one, Decoder::step advances it.
class Generation {
 public:
  // What a sequence must hold for so long a prompt. Throws Error as the constructor does.
  static SequenceLimits limits(const Model& model, std::size_t prompt_tokens, const GenerationParams& params);

  // Resumes from what `from` shares with the prompt, and takes over its memory (Decoder::new_sequence). Throws Error
  // for an empty prompt, parameters out of range, and where prompt and max_tokens would exceed from.max_length().
  Generation(const Model& model, ProcessedSequence from, std::vector<std::uint32_t> prompt, GenerationParams params);

  // From now on only tokens that `mask` allows are written. To be called before the first step.
  void constrain(std::unique_ptr<TokenMask> mask) { sampler_.constrain(std::move(mask)); }

  std::span<const std::uint32_t> tokens() const { return tokens_; }  // prompt and what follows it
  std::size_t prompt_tokens() const { return prompt_tokens_; }
  std::optional<FinishReason> finished() const { return finished_; }
  std::size_t reused_tokens() const { return reused_tokens_; }  // of the prompt: processed before
  // Tokens of the prompt that are still to be processed; 0 once the text is being written.
  std::size_t prompt_tokens_left() const { return tokens_.size() == prompt_tokens_ ? unprocessed().size() : 0; }
  // Of the last step.
  std::span<const WrittenToken> written() const { return written_; }
  // Of the prompt's tokens but the first, as far as it is processed.
  std::span<const TokenLogprobs> prompt_logprobs() const { return prompt_logprobs_; }
  const DraftRound& round() const { return round_; }
  // Of all steps.
  const SpeculationCounts& counts() const { return counts_; }
  const GenerationParams& params() const { return params_; }
  std::string_view mask_error() const { return sampler_.mask_error(); }

  // What has been processed, for other prompts to resume from. The generation can be used no more.
  ProcessedSequence take_processed() && { return std::move(processed_); }

  // The parts of a step, in this order; Decoder::step calls them.
  void begin_step();
  // Draft tokens that may follow: none before the first token is written, so that they do not depend on how the prompt
  // is cut into steps, and none that would exceed max_tokens.
  std::size_t max_draft_tokens() const;
  // Known tokens that the model has not processed: the rest of the prompt, or the last token.
  std::span<const std::uint32_t> unprocessed() const { return std::span(tokens_).subspan(processed_.tokens().size()); }
  ProcessedSequence& processed() { return processed_; }
  SequenceSampler& sampler() { return sampler_; }
  bool wants_prompt_logprobs() const { return params_.prompt_logprobs && prompt_tokens_left() != 0; }
  // `logits`, from `first_row` on: of all of the first `count` unprocessed tokens.
  void add_prompt_logprobs(const Rows& logits, std::size_t first_row, std::size_t count);
  // Appends the draft tokens that are accepted and one more. `logits`, from `first_row` on: of the last known token and
  // of each draft token. Throws Error where they are not finite.
  void verify(std::span<const DraftToken> drafts, std::size_t num_speculative_tokens, const Rows& logits,
              std::size_t first_row);

 private:
  std::uint64_t tokens_left() const { return params_.max_tokens - (tokens_.size() - prompt_tokens_); }
  void write(std::uint32_t token, bool drafted, std::span<const float> logits);

  GenerationParams params_;
  std::vector<std::uint32_t> tokens_;
  std::size_t prompt_tokens_ = 0;
  SequenceSampler sampler_;
  ProcessedSequence processed_;  // the first of tokens_
  std::size_t reused_tokens_ = 0;
  std::vector<TokenLogprobs> prompt_logprobs_;
  std::vector<WrittenToken> written_;
  DraftRound round_;
  std::optional<FinishReason> finished_;
  SpeculationCounts counts_;
};

}  // namespace outrider
