#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "outrider/decoding/sampling.h"

namespace outrider {

// A draft token and the distribution that it was drawn from.
struct DraftToken {
  std::uint32_t id = 0;
  Distribution distribution;
};

struct Verdict {
  std::size_t accepted = 0;  // of the draft tokens, from the first on
  std::uint32_t next = 0;    // the token after them, the verifier's own
};

// Rejection sampling (Leviathan et al. 2023, section 2.3): the tokens that result are distributed exactly as by the
// verifier alone, whatever drafted. Draft d is accepted with probability min(1, p(d)/q(d)); after a rejection the next
// token comes from the normalised max(p - q, 0), after all were accepted from the verifier's last distribution.
//
// `verifier`: one distribution a draft token and one more. It may end early with one that gives its draft token no
// probability, as that is rejected.
Verdict verify(std::span<const DraftToken> drafts, std::span<const Distribution> verifier, Random& random);

}  // namespace outrider
