#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <span>
#include <vector>

#include "outrider/decoding/draft_budget.h"
#include "outrider/decoding/draft_chances.h"
#include "outrider/decoding/drafter.h"
#include "outrider/decoding/generation.h"
#include "outrider/decoding/recent_acceptance.h"
#include "outrider/decoding/row_cost.h"

namespace outrider {

// Chooses the number of draft tokens, k, that generates most tokens per second: from the acceptance of recent drafts,
// and from the measured time of a step with k drafts for that number of sequences. Neighbouring numbers are tried now
// and then, in turn with the present one, less often the longer they have not been better. A drafter that computes all
// drafts at once may lose with one and gain with many: there, none and the most are neighbours too. A drafter that is
// hardly ever right is used until AcceptanceGuard can say so.
//
// Of up to k tokens, each sequence has those that are worth their row in the verification (budget): where a token's
// chance of being accepted is less than what the time of one more row would generate otherwise, its drafts end.
class DraftPolicy {
 public:
  static constexpr std::size_t kStart = 1;            // k until something is known
  static constexpr std::size_t kTrialTurns = 3;       // of two steps with either number; the second is timed
  static constexpr std::size_t kFirstInterval = 4;    // steps between two trials …
  static constexpr std::size_t kLastInterval = 2048;  // … and the most that they grow to
  // A trial begins if the drafter must catch up with at most so many positions per sequence, or is overdue.
  static constexpr std::size_t kSmallBacklog = 12;
  static constexpr std::size_t kOverdue = 8;   // times the interval
  static constexpr double kGain = 1.02;        // how much faster another k must be
  static constexpr double kClearly = 1.5;      // a trial ends once k is so much faster
  static constexpr double kHardlyEver = 0.25;  // acceptance of a drafter that is suspect

  // `most`: at least kStart. `at_once`: whether a round of drafts costs about the same whatever their number.
  explicit DraftPolicy(std::size_t most, bool at_once = false) : most_(most), at_once_(at_once) {}

  // What a step took, of sequences that were all decoding, and the time in it that the verification took.
  struct Times {
    double step = 0;
    double verification = 0;
  };

  // k for a step of `sequences` sequences, all of which are decoding. `backlog`: the drafter's, for all of them.
  std::size_t choose(std::size_t sequences, std::size_t backlog = 0);
  // Which drafts are worth their row in a step of so many sequences. `recent`: Generation::recent_acceptance.
  DraftBudget budget(std::size_t sequences, AcceptanceRule rule, double recent) const;
  // After a step: what became of the drafts, by sequence.
  void learn(std::span<const DraftBudget> budgets, std::span<const DraftRound> rounds);
  // The same for a step like those of choose(), in which every sequence could have k drafts.
  void add(std::size_t k, const Times& seconds, std::span<const DraftBudget> budgets,
           std::span<const DraftRound> rounds);

 private:
  struct Choice {
    std::size_t k = kStart;
    std::size_t steps = 0;  // since the last trial
    std::size_t interval = kFirstInterval;
    bool up = false;              // whether the next trial has more drafts
    bool none = true;             // if it has fewer, and they are drafted at once: whether it has none
    std::size_t trial = kStart;   // k of the trial under way
    std::size_t trial_steps = 0;  // left of it
    std::size_t turns = 0;        // of it so far
    std::array<double, kTrialTurns> trial_seconds{};  // by turn
    std::array<double, kTrialTurns> seconds{};
    RowCost row_cost;
  };
  // Of drafts, one at each add().
  struct Acceptance : RecentAcceptance {
    Acceptance() : RecentAcceptance(0.99, 4) {}
  };

  Choice& choice(std::size_t sequences);
  // Whether first drafts are hardly ever accepted, which AcceptanceGuard can't tell yet.
  bool suspect() const;
  double tokens_per_step(std::size_t k) const;  // of one sequence
  // How many times as fast as k the trial is, by the median seconds of the turns so far.
  double gain(const Choice& choice, std::size_t turns) const;
  void decide(Choice& choice, double gain) const;
  std::size_t next_trial(Choice& choice) const;

  std::size_t most_;
  bool at_once_;
  std::map<std::size_t, Choice> choices_;  // by number of sequences
  // By position. Drafts that were left out count as they would probably have fared, those that the drafter did not make
  // as not accepted.
  std::array<Acceptance, kMaxSpeculativeTokens> acceptance_;
  Acceptance made_;  // of first drafts, only those that were made
  DraftChances chances_;
  std::uint64_t rounds_ = 0;  // with drafts
};

}  // namespace outrider
