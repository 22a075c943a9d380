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
  std::size_t accepted = 0;  // number of draft tokens, from the first on
  std::uint32_t next = 0;    // the token after them, from the verifier
};

// Rejection sampling (Leviathan et al. 2023, section 2.3): the resulting tokens have exactly the verifier's
// distribution, whatever the drafter. Draft token d is accepted with probability min(1, p(d)/q(d)). After a rejection,
// the next token is drawn from the normalised max(p - q, 0); if all were accepted, from the verifier's last
// distribution.
//
// `verifier`: one distribution per draft token and one more. It may end early with a distribution that gives its draft
// token probability 0, because that token is rejected.
Verdict verify(std::span<const DraftToken> drafts, std::span<const Distribution> verifier, Random& random);

}  // namespace outrider
