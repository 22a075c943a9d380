#include "outrider/decoding/draft_policy.h"

#include <algorithm>
#include <utility>

#include "outrider/decoding/acceptance_guard.h"

namespace outrider {
namespace {

double median(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  return sorted[sorted.size() / 2];
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

bool DraftPolicy::suspect() const {
  return made_.rate() < kHardlyEver && rounds_ < AcceptanceGuard::kDraftsNeeded;
}

double DraftPolicy::tokens_per_step(std::size_t k) const {
  double tokens = 1;
  double reached = 1;
  for (std::size_t j = 0; j < k; ++j) {
    reached *= acceptance_[j].rate();
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

double DraftPolicy::gain(const Choice& c, std::size_t turns) const {
  return tokens_per_step(c.trial) / tokens_per_step(c.k) * median(std::span(c.seconds).first(turns)) /
         median(std::span(c.trial_seconds).first(turns));
}

void DraftPolicy::decide(Choice& c, double gain) const {
  c.steps = 0;
  c.trial_steps = 0;
  c.turns = 0;
  if (c.trial == 0 && suspect()) return;
  if (gain <= kGain) {
    c.interval = std::min((gain < 1 / kClearly ? 16 : 4) * c.interval, kLastInterval);
    return;
  }
  c.up = c.trial > c.k;
  c.k = c.trial;
  c.interval = std::max(c.interval / 4, kFirstInterval);
}

DraftBudget DraftPolicy::budget(std::size_t sequences, AcceptanceRule rule, double recent) const {
  const auto found = choices_.find(sequences);
  // In a trial, steps with k drafts all have k.
  const bool all = found == choices_.end() || found->second.trial_steps != 0 || suspect();
  return {chances_, rule, recent, all ? 0 : found->second.row_cost.tokens_per_row()};
}

void DraftPolicy::learn(std::span<const DraftBudget> budgets, std::span<const DraftRound> rounds) {
  for (std::size_t i = 0; i < budgets.size(); ++i) {
    budgets[i].learn(chances_, rounds[i].accepted);
    if (rounds[i].drafted == 0) continue;
    ++rounds_;
    made_.add(1, rounds[i].accepted != 0 ? 1 : 0);
  }
}

void DraftPolicy::add(std::size_t k, const Times& seconds, std::span<const DraftBudget> budgets,
                      std::span<const DraftRound> rounds) {
  std::size_t rows = 0;
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < rounds.size(); ++i) {
    const DraftRound& round = rounds[i];
    rows += round.drafted + 1;
    tokens += round.accepted + 1;
    for (std::size_t j = 0; j < std::min(k, round.accepted + 1); ++j) {
      const bool left_out = j == round.drafted && budgets[i].left_out();
      acceptance_[j].add(1, left_out ? *budgets[i].left_out() : j < round.accepted ? 1 : 0);
    }
  }
  Choice& c = choice(rounds.size());
  c.row_cost.add(rows, seconds.verification, tokens, seconds.step);
  if (c.trial_steps == 0) {
    ++c.steps;
    return;
  }
  // The first of two steps may have to catch up with what the drafter has not seen.
  if (c.trial_steps % 4 == 3) c.trial_seconds[c.turns] = seconds.step;
  if (c.trial_steps % 4 == 1) {
    c.seconds[c.turns++] = seconds.step;
    const double times = gain(c, c.turns);
    if (c.turns == kTrialTurns || times < 1 / kClearly) return decide(c, times);
  }
  --c.trial_steps;
}

}  // namespace outrider
