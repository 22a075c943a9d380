#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "outrider/decoding/draft_chances.h"

namespace outrider {

// Admits the draft tokens of one sequence in one step, one after another, as long as each is likely enough to be
// accepted, together with all before it, to be worth its row in the verification.
class DraftBudget {
 public:
  // `recent`: as in DraftEvidence. `least`: the probability that is worth a row.
  DraftBudget(const DraftChances& chances, AcceptanceRule rule, double recent, double least)
      : chances_(&chances), rule_(rule), recent_(recent), least_(least) {}

  // Whether the next draft token is worth it; after the first that is not, none is. `confidence`: as in DraftEvidence.
  // It must not depend on the token itself, or the sampled distribution would change.
  bool admit(double confidence);
  // Probability that the first token that was not worth it would have been accepted if all before it were.
  std::optional<double> left_out() const { return left_out_; }

  // Learns from how many of the tokens were accepted.
  void learn(DraftChances& chances, std::size_t accepted) const;

 private:
  const DraftChances* chances_;
  AcceptanceRule rule_;
  double recent_;
  double least_;
  double reached_ = 1;  // probability that all tokens so far are accepted
  std::optional<double> left_out_;
  std::array<DraftEvidence, kMaxSpeculativeTokens> admitted_;
  std::size_t count_ = 0;
};

}  // namespace outrider
