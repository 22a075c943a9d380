#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "outrider/model/model.h"
#include "outrider/speculation/sampling.h"

namespace outrider {

inline constexpr std::size_t kMaxSpeculativeTokens = 8;

struct GenerationParams {
  SamplingParams sampling;
  std::uint64_t seed = 0;
  std::uint64_t max_tokens = 16;              // written after the prompt, at least 1
  std::vector<std::uint32_t> stop_token_ids;  // the first of them ends the text; it is the last token
};

enum class FinishReason { kStop, kLength };

// A token that was written.
struct WrittenToken {
  std::uint32_t id = 0;
  bool drafted = false;  // by the MTP block, and accepted
};

struct SpeculationCounts {
  std::uint64_t drafts = 0;        // rounds of drafting
  std::uint64_t draft_tokens = 0;  // drafted in them
  std::uint64_t accepted_tokens = 0;
  std::vector<std::uint64_t> accepted_per_position;  // [num_speculative_tokens]

  double acceptance_rate() const;    // accepted of drafted tokens; 0 where nothing was drafted
  double acceptance_length() const;  // tokens a round gave, the verifier's own included
};

// One text that is being written.
class Generation {
 public:
  // Throws Error for an empty prompt, parameters out of range, and what does not fit into the model's context.
  Generation(const Model& model, std::vector<std::uint32_t> prompt, GenerationParams params);

  std::span<const std::uint32_t> tokens() const { return tokens_; }  // prompt and what follows it
  std::size_t prompt_tokens() const { return prompt_tokens_; }
  std::optional<FinishReason> finished() const { return finished_; }
  // Of the last step.
  std::span<const WrittenToken> written() const { return written_; }
  const SpeculationCounts& counts() const { return counts_; }

 private:
  friend class Decoder;

  std::size_t unprocessed() const { return tokens_.size() - static_cast<std::size_t>(sequence_.length()); }
  std::uint64_t tokens_left() const { return params_.max_tokens - (tokens_.size() - prompt_tokens_); }
  Distribution distribution(std::span<const float> logits) const;
  void write(std::uint32_t token, bool drafted);

  GenerationParams params_;
  Random random_;
  std::vector<std::uint32_t> tokens_;
  std::size_t prompt_tokens_ = 0;
  TokenHistory history_;
  Sequence sequence_;
  // The model's streams at positions that the MTP block has not been run over yet, the last ones of the sequence.
  Rows pending_;
  std::vector<std::uint32_t> drafts_;
  std::vector<Distribution> drafter_;
  std::vector<WrittenToken> written_;
  std::optional<FinishReason> finished_;
  SpeculationCounts counts_;
};

}  // namespace outrider
