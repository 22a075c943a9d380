#include "outrider/decoding/rejection.h"

namespace outrider {

Verdict verify(std::span<const DraftToken> drafts, std::span<const Distribution> verifier, Random& random) {
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    const double p = verifier[i].probability(drafts[i].id);
    const double q = drafts[i].distribution.probability(drafts[i].id);
    if (p < q && random.uniform() * q >= p) return {i, verifier[i].sample_beyond(drafts[i].distribution, random)};
  }
  return {drafts.size(), verifier[drafts.size()].sample(random)};
}

}  // namespace outrider
