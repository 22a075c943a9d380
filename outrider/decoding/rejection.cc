#include "outrider/decoding/rejection.h"

namespace outrider {

Verdict verify(std::span<const std::uint32_t> drafts, std::span<const Distribution> drafter,
               std::span<const Distribution> verifier, Random& random) {
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    const double p = verifier[i].probability(drafts[i]);
    const double q = drafter[i].probability(drafts[i]);
    if (p < q && random.uniform() * q >= p) return {i, verifier[i].sample_beyond(drafter[i], random)};
  }
  return {drafts.size(), verifier[drafts.size()].sample(random)};
}

}  // namespace outrider
