#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "outrider/architectures/model.h"
#include "outrider/decoding/logprobs.h"
#include "outrider/decoding/output_rules.h"
#include "outrider/decoding/processed_sequence.h"
#include "outrider/decoding/recent_acceptance.h"
#include "outrider/decoding/sampling.h"
#include "outrider/decoding/sequence_sampler.h"
#include "outrider/decoding/token_mask.h"

namespace outrider {

struct GenerationParams {
  SamplingParams sampling;
  std::uint64_t seed = 0;
  // Sampled output depends on the seed only: it is that without drafts (SequenceSampler's `coupled`).
  bool reproducible = false;
  std::uint64_t max_tokens = 16;                 // output tokens, at least 1
  std::vector<std::uint32_t> stop_token_ids;     // the first of them ends the output, as its last token
  std::optional<std::size_t> logprobs;           // report them, with this many of the most likely tokens
  std::vector<std::uint32_t> logprob_token_ids;  // or, if not empty, with these tokens
  std::optional<std::size_t> prompt_logprobs;    // as `logprobs`, for the prompt's tokens
  OutputRules rules;
};

enum class FinishReason { kStop, kLength };

// An output token.
struct OutputToken {
  std::uint32_t id = 0;
  bool drafted = false;  // proposed by the drafter and accepted
  std::optional<TokenLogprobs> logprobs;
};

// One sequence's draft tokens in a step, and how many of them were accepted, from the first on.
struct DraftRound {
  std::size_t drafted = 0;
  std::size_t accepted = 0;
  std::size_t left_out = 0;  // tokens that could have been drafted, but would have cost more time than they save
};

struct SpeculationCounts {
  std::uint64_t drafts = 0;        // rounds with draft tokens
  std::uint64_t draft_tokens = 0;  // draft tokens in these rounds
  std::uint64_t accepted_tokens = 0;
  std::vector<std::uint64_t> accepted_per_position;  // [num_speculative_tokens]
  std::uint64_t left_out_tokens = 0;                 // in rounds without draft tokens too

  void add(const DraftRound& round, std::size_t num_speculative_tokens);
  double acceptance_rate() const;    // accepted / draft tokens; 0 if nothing was drafted
  double acceptance_length() const;  // mean number of output tokens per round, including the verifier's own
  SpeculationCounts& operator+=(const SpeculationCounts& other);
};

// Throws Error if the prompt is empty, if max_tokens is 0, or if their sum exceeds `context`.
void check_length(std::size_t prompt_tokens, std::uint64_t max_tokens, std::uint64_t context);

// Throws Error if a token id of the parameters is not below `vocab_size`, or a bad word has no tokens. Stop tokens may
// be beyond it.
void check_token_ids(const GenerationParams& params, std::uint64_t vocab_size);

// One sequence that is being generated. Created by Decoder::start, advanced by Decoder::step.
class Generation {
 public:
  // Limits of a sequence for a prompt of this length. Throws Error as the constructor does.
  static SequenceLimits limits(const Model& model, std::size_t prompt_tokens, const GenerationParams& params);

  // Takes over the sequence `from` (Decoder::new_sequence) and resumes from the prefix that it shares with the prompt.
  // Throws Error if the prompt is empty, a parameter is out of range, or prompt and max_tokens exceed
  // from.max_length(); then `from` is as it was.
  Generation(const Model& model, ProcessedSequence&& from, std::vector<std::uint32_t> prompt, GenerationParams params);

  // Restricts the output to tokens that `mask` allows. Must be called before the first step.
  void constrain(std::unique_ptr<TokenMask> mask) { sampler_.constrain(std::move(mask)); }

  std::span<const std::uint32_t> tokens() const { return tokens_; }  // prompt and output
  std::size_t prompt_tokens() const { return prompt_tokens_; }
  std::optional<FinishReason> finished() const { return finished_; }
  std::size_t reused_tokens() const { return reused_tokens_; }  // prompt tokens that were processed before
  // Prompt tokens still to be processed; 0 once output tokens are generated.
  std::size_t prompt_tokens_left() const { return tokens_.size() == prompt_tokens_ ? unprocessed().size() : 0; }
  // Output tokens of the last step.
  std::span<const OutputToken> new_tokens() const { return new_tokens_; }
  // For the prompt's tokens except the first, as far as the prompt is processed.
  std::span<const TokenLogprobs> prompt_logprobs() const { return prompt_logprobs_; }
  const DraftRound& round() const { return round_; }
  // Share of the draft tokens of recent rounds that were accepted, of those up to the first that was not.
  double recent_acceptance() const { return recent_acceptance_.rate(); }
  // Sums over all steps.
  const SpeculationCounts& counts() const { return counts_; }
  const GenerationParams& params() const { return params_; }
  // Why no token can follow: the mask failed, or it and the rules together allow none. Otherwise empty.
  std::string_view error() const { return error_; }
  // There was not enough memory to advance it. Its tokens are not to be used.
  bool out_of_memory() const { return out_of_memory_; }

  // The processed tokens, for other prompts to resume from. The generation cannot be used afterwards.
  ProcessedSequence take_processed() && { return std::move(processed_); }

  // The parts of a step, in this order; called by Decoder::step.
  void begin_step();
  bool stepped() const { return stepped_; }
  // After a step in which memory lacked: returns to the state before it, unless the step was complete for this
  // generation. A prompt may have to be processed from its beginning. The drafter misses what it did not store.
  void recover();
  void run_out_of_memory() { out_of_memory_ = true; }
  // Maximum number of draft tokens: 0 before the first output token, so that drafts do not depend on how the prompt is
  // divided into steps; never more than max_tokens allows.
  std::size_t max_draft_tokens() const;
  // Known tokens that the model has not processed: the rest of the prompt, or the last token.
  std::span<const std::uint32_t> unprocessed() const { return std::span(tokens_).subspan(processed_.tokens().size()); }
  ProcessedSequence& processed() { return processed_; }
  SequenceSampler& sampler() { return sampler_; }
  const SequenceSampler& sampler() const { return sampler_; }
  bool wants_prompt_logprobs() const { return params_.prompt_logprobs.has_value() && prompt_tokens_left() != 0; }
  // `logits`, from row `first_row` on: of the first `count` unprocessed tokens.
  void add_prompt_logprobs(const Rows& logits, std::size_t first_row, std::size_t count);
  // Appends the accepted draft tokens and one more token. `logits`, from row `first_row` on: of the last known token
  // and of each draft token. `left_out`: DraftRound's. Throws Error if they are not finite. Where no token
  // is allowed, sets error() and appends none.
  void verify(std::span<const DraftToken> drafts, std::size_t left_out, std::size_t num_speculative_tokens,
              const Rows& logits, std::size_t first_row);
  // Keeps `tokens` of those that the model has processed in this step, which ends it.
  void keep(std::span<const std::uint32_t> tokens);

 private:
  std::uint64_t tokens_left() const { return params_.max_tokens - (tokens_.size() - prompt_tokens_); }
  void append(std::uint32_t token, bool drafted, std::span<const float> logits);

  GenerationParams params_;
  std::vector<std::uint32_t> tokens_;
  std::size_t prompt_tokens_ = 0;
  SequenceSampler sampler_;
  ProcessedSequence processed_;  // a prefix of tokens_
  std::size_t reused_tokens_ = 0;
  std::vector<TokenLogprobs> prompt_logprobs_;
  std::vector<OutputToken> new_tokens_;
  DraftRound round_;
  RecentAcceptance recent_acceptance_{0.95,
                                      2};  // so few are assumed that a sequence whose drafts failed is tried again
  std::optional<FinishReason> finished_;
  std::string error_;
  SpeculationCounts counts_;
  bool stepped_ = false;  // in this step
  bool out_of_memory_ = false;
};

}  // namespace outrider
