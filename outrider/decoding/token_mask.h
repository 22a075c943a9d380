#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace outrider {

// What may come next in one text: a grammar, for instance. It goes along with the text, drafts that may yet be rejected
// included; drafter and verifier are masked alike, so that their distributions stay comparable.
class TokenMask {
 public:
  virtual ~TokenMask() = default;

  // Sets the logits [V] of all tokens that may not come next to -infinity. At least one must be left.
  virtual void apply(std::span<float> logits) = 0;
  // The text goes on with a token that may come next, the one that ends the text included.
  virtual void advance(std::uint32_t token) = 0;
  // Takes the last `tokens` back; never more than kMaxSpeculativeTokens, and only what drafts had added.
  virtual void rollback(std::size_t tokens) = 0;
  // Why the text cannot go on, from the time on when that is so; only the token that ends it is left then.
  virtual std::string_view error() const { return {}; }
};

}  // namespace outrider
