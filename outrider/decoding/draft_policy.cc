#include "outrider/decoding/draft_policy.h"

#include <algorithm>
#include <utility>

#include "outrider/decoding/acceptance_guard.h"

namespace outrider {
namespace {

// A round counts half of the one this many rounds after it.
constexpr double kDecay = 0.99;
// Acceptance that is assumed at first, and the number of drafts that it counts as.
constexpr double kAssumed = 0.6;
constexpr double kAssumedDrafts = 4;

template <typename Values>
double median(Values values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

// A number of sequences that did not occur before begins with what is best for the next smaller one, or the next
// larger.
DraftPolicy::Choice& DraftPolicy::choice(std::size_t sequences) {
  const auto found = choices_.lower_bound(sequences);
  if (found != choices_.end() && found->first == sequences) return found->second;
  Choice fresh;
  if (found != choices_.begin()) {
    fresh.k = std::prev(found)->second.k;
  } else if (found != choices_.end()) {
    fresh.k = found->second.k;
  } else if (at_once_) {
    fresh.k = most_;
  }
  return choices_.emplace_hint(found, sequences, fresh)->second;
}

double DraftPolicy::acceptance(std::size_t position) const {
  const Acceptance& a = acceptance_[position];
  return (a.accepted + kAssumed * kAssumedDrafts) / (a.verified + kAssumedDrafts);
}

double DraftPolicy::tokens_per_step(std::size_t k) const {
  double tokens = 1;
  double reached = 1;
  for (std::size_t j = 0; j < k; ++j) {
    reached *= acceptance(j);
    tokens += reached;
  }
  return tokens;
}

std::size_t DraftPolicy::next_trial(Choice& c) const {
  c.up = c.k == 0 || (c.k < most_ && c.up);
  const bool up = std::exchange(c.up, !c.up);
  if (up) return at_once_ && c.k == 0 ? most_ : c.k + 1;
  return at_once_ && std::exchange(c.none, !c.none) ? 0 : c.k - 1;
}

std::size_t DraftPolicy::choose(std::size_t sequences, std::size_t backlog) {
  Choice& c = choice(sequences);
  const std::size_t due = backlog <= kSmallBacklog * sequences ? c.interval : kOverdue * c.interval;
  if (c.trial_steps == 0 && c.steps >= due) {
    c.trial = next_trial(c);
    c.trial_steps = 4 * kTrialTurns;
  }
  return c.trial_steps == 0 || c.trial_steps % 4 == 1 || c.trial_steps % 4 == 2 ? c.k : c.trial;
}

void DraftPolicy::decide(Choice& c) const {
  c.steps = 0;
  if (c.trial == 0 && acceptance(0) < kHardlyEver && rounds_ < AcceptanceGuard::kDraftsNeeded) return;
  if (tokens_per_step(c.trial) / median(c.trial_seconds) <= kGain * tokens_per_step(c.k) / median(c.seconds)) {
    c.interval = std::min(4 * c.interval, kLastInterval);
    return;
  }
  c.up = c.trial > c.k;
  c.k = c.trial;
  c.interval = std::max(c.interval / 4, kFirstInterval);
}

void DraftPolicy::add(std::size_t sequences, std::size_t k, double seconds, std::span<const DraftRound> rounds) {
  for (const DraftRound& round : rounds) {
    if (round.drafted != 0) ++rounds_;
    // A draft that was not made is one that was not accepted.
    for (std::size_t j = 0; j < std::min(k, round.accepted + 1); ++j) {
      Acceptance& a = acceptance_[j];
      a.verified = kDecay * a.verified + 1;
      a.accepted = kDecay * a.accepted + (j < round.accepted ? 1 : 0);
    }
  }
  Choice& c = choice(sequences);
  if (c.trial_steps == 0) {
    ++c.steps;
    return;
  }
  // The first of two steps may have to catch up with what the drafter has not seen.
  const std::size_t turn = (c.trial_steps - 1) / 4;
  if (c.trial_steps % 4 == 3) c.trial_seconds[turn] = seconds;
  if (c.trial_steps % 4 == 1) c.seconds[turn] = seconds;
  if (--c.trial_steps == 0) decide(c);
}

}  // namespace outrider
