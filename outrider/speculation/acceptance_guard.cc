#include "outrider/speculation/acceptance_guard.h"

#include <fmt/format.h>

#include <algorithm>

namespace outrider {

void AcceptanceGuard::add(const DraftRound& round, bool sampled) {
  if (round.drafted == 0) return;
  Tally& tally = sampled ? sampled_ : greedy_;
  ++tally.rounds;
  if (round.accepted != 0) ++tally.accepted;
}

double AcceptanceGuard::limit() const {
  return std::max(kLowest, expected_ ? kFarBelow * expected_->rate : 0.0);
}

bool AcceptanceGuard::low(const Tally& tally) const {
  return static_cast<double>(tally.accepted) < limit() * static_cast<double>(tally.rounds);
}

std::string AcceptanceGuard::reason() const {
  if (!suspect()) return {};
  const bool greedy = suspect(greedy_);
  const Tally& tally = greedy ? greedy_ : sampled_;
  std::string text = fmt::format("Only {} of {} first drafts ({:.1f}%) were accepted{}", tally.accepted, tally.rounds,
                                 100.0 * static_cast<double>(tally.accepted) / static_cast<double>(tally.rounds),
                                 greedy ? "" : " while sampling");
  text += expected_ ? fmt::format(", where {} says {:.1f}%.", expected_->source, 100 * expected_->rate)
                    : std::string(", where a sound MTP head has 50 to 85%.");
  if (only_when_sampling()) {
    text += fmt::format(
        " Of greedy drafts {} of {} were accepted, so it is not the weights: look at temperature and "
        "filters first.",
        greedy_.accepted, greedy_.rounds);
  } else if (!greedy) {
    text += " A high temperature lowers acceptance by itself: compare at temperature 0.";
  }
  return text;
}

}  // namespace outrider
