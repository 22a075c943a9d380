#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/decoding/drafter.h"

namespace outrider {

// How many of the last tokens are looked up: the longest n-gram of these lengths that occurs before.
struct NgramLengths {
  std::size_t min = 5;  // at least 1
  std::size_t max = 5;  // at least min
};

// Prompt lookup: the tokens, at most `count`, that followed where the longest n-gram that `tokens` end with occurred
// first. Empty where none occurs before. The meaning is that of vLLM's NgramProposer. Linear in tokens.size(), at most
// three comparisons a token; memory for `max` numbers.
std::span<const std::uint32_t> look_up_ngram(std::span<const std::uint32_t> tokens, NgramLengths lengths,
                                             std::size_t count);

// Drafts what followed the last tokens earlier in the sequence. Reads no weights and remembers nothing; a draft token
// has all of the probability.
class NgramDrafter : public Drafter {
 public:
  // Throws Error where min is 0 or exceeds max.
  explicit NgramDrafter(NgramLengths lengths);

  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override;

 private:
  NgramLengths lengths_;
};

}  // namespace outrider
