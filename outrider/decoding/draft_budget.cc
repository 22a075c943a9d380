#include "outrider/decoding/draft_budget.h"

#include <algorithm>

namespace outrider {

bool DraftBudget::admit(double confidence) {
  if (left_out_) return false;
  const DraftEvidence evidence{confidence, recent_};
  const double chance = chances_->chance(rule_, count_, evidence);
  reached_ *= chance;
  if (reached_ < least_) {
    left_out_ = chance;
    return false;
  }
  admitted_[count_++] = evidence;
  return true;
}

void DraftBudget::learn(DraftChances& chances, std::size_t accepted) const {
  // What follows a token that was refused was not judged.
  for (std::size_t j = 0; j < std::min(count_, accepted + 1); ++j) {
    chances.add(rule_, j, admitted_[j], j < accepted);
  }
}

}  // namespace outrider
