#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "outrider/decoding/drafter.h"
#include "outrider/decoding/sequence_sampler.h"

namespace outrider {

// What is known of a draft token before it is drawn.
struct DraftEvidence {
  // The drafter's estimate that it is accepted if all before it are; 0.5 if it has none.
  double confidence = 0.5;
  double recent = 0.5;  // share of the sequence's recent drafts that were accepted
};

// The probability that a draft token is accepted if all before it are, learned while running: for each position in the
// draft a logistic regression on the log odds of the evidence (Platt 1999), which calibrates the drafter's confidence.
// Greedy, sampled and coupled sequences accept differently and are learned apart.
class DraftChances {
 public:
  // `position`: in the draft, below kMaxSpeculativeTokens.
  double chance(AcceptanceRule rule, std::size_t position, const DraftEvidence& evidence) const;
  void add(AcceptanceRule rule, std::size_t position, const DraftEvidence& evidence, bool accepted);

 private:
  // Until something is learned: the confidence, moved a little by what the sequence accepted.
  struct Regression {
    std::array<double, 3> weights{0, 1, 0.5};
    std::uint64_t drafts = 0;
  };
  std::array<std::array<Regression, kMaxSpeculativeTokens>, kAcceptanceRules> regressions_;
};

}  // namespace outrider
