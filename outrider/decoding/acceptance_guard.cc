#include "outrider/decoding/acceptance_guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace outrider {

void AcceptanceGuard::add(const DraftRound& round, bool sampled) {
  if (round.drafted == 0) return;
  Tally& tally = sampled ? sampled_ : greedy_;
  const bool accepted = round.accepted != 0;
  ++tally.all.rounds;
  tally.all.accepted += accepted ? 1 : 0;
  if (tally.recent.rounds == kWindow) {
    tally.recent.accepted -= tally.accepted[tally.next] ? 1 : 0;
  } else {
    ++tally.recent.rounds;
  }
  tally.recent.accepted += accepted ? 1 : 0;
  tally.accepted[tally.next] = accepted;
  tally.next = (tally.next + 1) % kWindow;
  judge(tally);
}

void AcceptanceGuard::judge(Tally& tally) const {
  const Counts& recent = tally.recent;
  if (tally.suspect) {
    if (recent.rate() < limit() + kDeviationsAbove * deviation()) return;
    tally.suspect = false;
    tally.all = recent;
    return;
  }
  const bool never_good = tally.all.rounds >= kDraftsNeeded && low(tally.all);
  const bool collapsed = recent.rounds == kWindow && recent.rate() < limit() - kDeviationsBelow * deviation();
  tally.suspect = never_good || collapsed;
  tally.late = !never_good;
}

double AcceptanceGuard::limit() const {
  return std::max(kLowest, expected_ ? kFarBelow * expected_->rate : 0.0);
}

double AcceptanceGuard::deviation() const {
  return std::sqrt(limit() * (1 - limit()) / static_cast<double>(kWindow));
}

bool AcceptanceGuard::low(const Counts& counts) const {
  return static_cast<double>(counts.accepted) < limit() * static_cast<double>(counts.rounds);
}

std::string AcceptanceGuard::reason() const {
  if (!suspect()) return {};
  const bool greedy = greedy_.suspect;
  const Tally& tally = greedy ? greedy_ : sampled_;
  const Counts& counts = tally.late ? tally.recent : tally.all;
  std::string text =
      fmt::format("Only {} of {}{} first drafts ({:.1f}%) were accepted{}", counts.accepted,
                  tally.late ? "the last " : "", counts.rounds, 100 * counts.rate(), greedy ? "" : " while sampling");
  text += expected_ ? fmt::format(", but {} says {:.1f}%.", expected_->source, 100 * expected_->rate)
                    : std::string("; a sound MTP head reaches 50 to 85%.");
  if (only_when_sampling()) {
    text += fmt::format(
        " {} of {} greedy drafts were accepted, so the cause is not the weights: check temperature and "
        "filters first.",
        greedy_.all.accepted, greedy_.all.rounds);
  } else if (!greedy) {
    text += " A high temperature lowers acceptance by itself: compare at temperature 0.";
  }
  return text;
}

}  // namespace outrider
