#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "outrider/architectures/deepseek_v4/sequence.h"
#include "outrider/backend/rows.h"

namespace outrider {

// Tokens that a model has processed, and all that it remembers of them: where another text begins with the same tokens,
// it can go on from here.
class ProcessedText {
 public:
  explicit ProcessedText(Sequence sequence) : sequence_(std::move(sequence)) {}

  std::span<const std::uint32_t> tokens() const { return tokens_; }
  std::uint64_t max_length() const { return sequence_.max_length(); }

  // How many tokens of `prompt` need not be processed again: what stands in both, all but the last of the prompt at
  // most, as far as the rest can be taken back (Sequence::truncate); else 0.
  std::size_t reusable(std::span<const std::uint32_t> prompt) const { return cut_for(prompt).length; }
  // Takes back all that is not reusable for `prompt`.
  void cut(std::span<const std::uint32_t> prompt);
  // Forgets everything, whatever state a failed pass left.
  void clear() { cut_to({}); }

 private:
  friend class Generation;
  friend class Decoder;

  struct Cut {
    std::size_t length = 0;
    std::size_t mtp_length = 0;
  };
  Cut cut_for(std::span<const std::uint32_t> prompt) const;
  void cut_to(Cut cut);

  Sequence sequence_;
  std::vector<std::uint32_t> tokens_;  // [sequence.length()]
  // With speculation: the model's streams at the positions from sequence.mtp_length() to sequence.length(), which the
  // MTP block has not been run over yet. It has seen, at each position before, the token that follows.
  Rows pending_;
};

}  // namespace outrider
