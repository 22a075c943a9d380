#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace outrider {

// Restricts the next token of one sequence, for instance by a grammar. The mask advances with the sequence, including
// draft tokens that may yet be rejected; it applies to drafter and verifier alike, so that their distributions are
// comparable.
class TokenMask {
 public:
  virtual ~TokenMask() = default;

  // Sets the logits [V] of all forbidden tokens to -infinity. At least one token must remain.
  virtual void apply(std::span<float> logits) = 0;
  // Advances by an allowed token; a token that ends the output counts, too. Nothing has changed if it throws.
  virtual void advance(std::uint32_t token) = 0;
  // Rolls back the last `tokens` tokens: at most kMaxSpeculativeTokens, and draft tokens only.
  virtual void rollback(std::size_t tokens) = 0;
  // Why the output cannot continue; from then on only the token that ends it is allowed. Empty otherwise.
  virtual std::string_view error() const { return {}; }
};

}  // namespace outrider
