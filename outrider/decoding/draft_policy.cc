#include "outrider/decoding/draft_policy.h"

#include <algorithm>

#include "outrider/decoding/acceptance_guard.h"

namespace outrider {
namespace {

// A round counts half of the one this many rounds after it.
constexpr double kDecay = 0.99;
// Acceptance that is assumed at first, and the number of drafts that it counts as.
constexpr double kAssumed = 0.6;
constexpr double kAssumedDrafts = 4;

}  // namespace

double DraftPolicy::Times::median() const {
  std::array<double, 8> sorted = seconds;
  const std::size_t size = std::min(count, sorted.size());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(size / 2);
  std::nth_element(sorted.begin(), middle, sorted.begin() + static_cast<std::ptrdiff_t>(size));
  return *middle;
}

// A number of sequences that did not occur before begins with what is best for the next smaller one.
DraftPolicy::Choice& DraftPolicy::choice(std::size_t sequences) {
  const auto found = choices_.lower_bound(sequences);
  if (found != choices_.end() && found->first == sequences) return found->second;
  Choice fresh;
  if (found != choices_.begin()) fresh.k = fresh.previous = std::prev(found)->second.k;
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

std::size_t DraftPolicy::choose(std::size_t sequences) {
  Choice& c = choice(sequences);
  if (c.trial_steps == 0 && c.steps >= c.interval) {
    c.up = c.k == 0 || (c.k < most_ && c.up);
    c.trial = c.up ? c.k + 1 : c.k - 1;
    c.up = !c.up;
    c.trial_steps = kTrialSteps;
    c.times[c.trial].count = 0;
  }
  return c.trial_steps != 0 ? c.trial : c.k;
}

void DraftPolicy::decide(Choice& c) const {
  const auto rate = [&](std::size_t k) { return tokens_per_step(k) / c.times[k].median(); };
  c.steps = 0;
  if (c.trial == 0 && acceptance(0) < kHardlyEver && rounds_ < AcceptanceGuard::kDraftsNeeded) return;
  if (c.times[c.k].count != 0 && rate(c.trial) <= kGain * rate(c.k)) {
    c.interval = std::min(4 * c.interval, kLastInterval);
    return;
  }
  c.up = c.trial > c.k;
  c.k = c.trial;
  c.interval = kFirstInterval;
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
  // The first step with another k may have to catch up with what the drafter has not seen.
  if (c.previous == k) {
    Times& times = c.times[k];
    times.seconds[times.count++ % times.seconds.size()] = seconds;
  }
  c.previous = k;
  if (c.trial_steps == 0) {
    ++c.steps;
  } else if (k == c.trial && --c.trial_steps == 0) {
    decide(c);
  }
}

}  // namespace outrider
