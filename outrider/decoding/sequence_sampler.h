#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "outrider/decoding/output_rules.h"
#include "outrider/decoding/rejection.h"
#include "outrider/decoding/sampling.h"
#include "outrider/decoding/token_mask.h"

namespace outrider {

// What makes the verifier accept a draft token: that it is the most likely one, rejection sampling, or that both draw
// it with the same noise.
enum class AcceptanceRule { kGreedy, kSampled, kCoupled };
inline constexpr std::size_t kAcceptanceRules = 3;

// Chooses the next token of one sequence: sampling parameters, penalties for its tokens so far, rules and a mask,
// random numbers. Drafter and verifier use the same sampler, so that their distributions are comparable.
class SequenceSampler {
 public:
  // `coupled`: the text depends on the seed only, whatever is drafted. Drafter and verifier draw with the same noise
  // for a position, and a draft is accepted if both draw the same token; rejection sampling accepts more.
  SequenceSampler(SamplingParams params, std::uint64_t seed, std::span<const std::uint32_t> prompt,
                  bool coupled = false, OutputRules rules = {});

  AcceptanceRule acceptance_rule() const;

  // Restricts the next tokens to those that `mask` allows.
  void constrain(std::unique_ptr<TokenMask> mask) { mask_ = std::move(mask); }

  // The distribution of the next token, from the logits [V] of the position before it; Distribution::none() if rules
  // and mask together allow no token.
  Distribution distribution(std::span<const float> logits) const;
  // Draws a draft token and assumes it.
  DraftToken draft(std::span<const float> logits);
  // Advances by a draft token until roll_back() removes all assumed tokens. The mask must allow it. Nothing has changed
  // if it throws.
  void assume(std::uint32_t token);
  void roll_back();
  // Advances by an accepted token. No token may be assumed.
  void append(std::uint32_t token);

  // Rejection sampling (rejection.h) with this sequence's random numbers, unless coupled. `verifier`: as there.
  Verdict verify(std::span<const DraftToken> drafts, std::span<const Distribution> verifier);

  // Why the mask allows no further token, if it could not be computed; otherwise empty.
  std::string_view mask_error() const { return mask_ == nullptr ? std::string_view{} : mask_->error(); }

 private:
  // Of the position `ahead` of the next token to append.
  PositionNoise noise(std::size_t ahead) const { return {seed_, appended_ + ahead}; }

  SamplingParams params_;
  std::uint64_t seed_;
  bool coupled_;
  std::uint64_t appended_ = 0;
  Random random_;
  TokenHistory history_;
  OutputRuleMask rules_;
  std::unique_ptr<TokenMask> mask_;
  std::vector<std::uint32_t> assumed_;
};

}  // namespace outrider
