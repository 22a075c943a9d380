#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "outrider/decoding/drafter.h"

namespace outrider {

// Lengths of the n-grams that are looked up: the longest one that occurs earlier is used.
struct NgramLengths {
  std::size_t min = 5;  // at least 1
  std::size_t max = 5;  // at least min
};

struct NgramMatch {
  std::span<const std::uint32_t> tokens;  // that followed it
  std::size_t length = 0;                 // of the n-gram
};

// Prompt lookup: returns up to `count` tokens that followed the first occurrence of the longest n-gram at the end of
// `tokens`. Empty if none occurs earlier. The semantics are those of vLLM's NgramProposer. Linear in tokens.size(), at
// most three comparisons per token; memory for `max` numbers.
NgramMatch look_up_ngram(std::span<const std::uint32_t> tokens, NgramLengths lengths, std::size_t count);

// Drafts the tokens that followed the last n-gram earlier in the sequence. Reads no weights and is stateless; each
// draft token has probability 1.
class NgramDrafter : public Drafter {
 public:
  // Throws Error if min is 0 or exceeds max.
  explicit NgramDrafter(NgramLengths lengths);

  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override;

 private:
  NgramLengths lengths_;
};

}  // namespace outrider
