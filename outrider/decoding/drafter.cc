#include "outrider/decoding/drafter.h"

#include "outrider/decoding/draft_budget.h"

namespace outrider {

bool DraftItem::admits(double confidence) const {
  return budget == nullptr || budget->admit(confidence);
}

std::unique_ptr<DrafterState> Drafter::new_state(const SequenceLimits&) const {
  return nullptr;
}

std::uint64_t Drafter::state_bytes(const SequenceLimits&) const {
  return 0;
}

void Drafter::observe(std::span<const ObservedItem>, std::span<const Rows>) const {}

}  // namespace outrider
