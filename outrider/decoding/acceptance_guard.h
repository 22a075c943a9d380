#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "outrider/decoding/generation.h"

namespace outrider {

// The share of first drafts that should be accepted, and who says so.
struct AcceptanceExpectation {
  double rate = 0;     // 0 to 1
  std::string source;  // "the model card"
};

// Watches whether drafts are accepted at all. A drafter whose weights are wrong costs nothing but speed, so no error
// ever tells: issue 43456 of vLLM went unnoticed that way.
//
// Only the first draft of each round counts: one MTP block run on over its own streams may do poorly further on. Greedy
// and sampled sequences are counted apart, as sampling lowers acceptance by itself.
//
// Two rates are judged. All rounds since the start, or since the last recovery, tell a drafter that was never any good
// from a poor one as sharply as the counts allow. A window of recent rounds tells a collapse that comes late, and a
// recovery; both need a rate that chance does not produce near the limit, so that the verdict does not flap.
class AcceptanceGuard {
 public:
  static constexpr std::uint64_t kDraftsNeeded = 256;    // of one kind, before there is a verdict
  static constexpr std::uint64_t kDraftsToCompare = 32;  // of greedy ones, before they speak for the weights
  static constexpr std::size_t kWindow = 512;            // recent rounds of one kind
  // Where nothing is expected. Sound artifacts have 50 to 85%; the worst ones known to be broken 16%, most of them 0.
  static constexpr double kLowest = 0.05;
  static constexpr double kFarBelow = 0.5;  // of what is expected
  // How far the window's rate must be below the limit to be suspect, and above it to be sound again: standard
  // deviations of the rate of kWindow rounds.
  static constexpr double kDeviationsBelow = 2;
  static constexpr double kDeviationsAbove = 4;

  AcceptanceGuard() = default;
  explicit AcceptanceGuard(std::optional<AcceptanceExpectation> expected) : expected_(std::move(expected)) {}

  void add(const DraftRound& round, bool sampled);

  // Whether too few drafts are accepted, which may change with every round; and a sentence on that, with the figures.
  bool suspect() const { return greedy_.suspect || sampled_.suspect; }
  std::string reason() const;
  // Whether greedy drafts are accepted as they should be, so that it is not the weights.
  bool only_when_sampling() const {
    return sampled_.suspect && !greedy_.suspect && greedy_.all.rounds >= kDraftsToCompare && !low(greedy_.all);
  }

 private:
  struct Counts {
    std::uint64_t rounds = 0;
    std::uint64_t accepted = 0;
    double rate() const { return static_cast<double>(accepted) / static_cast<double>(rounds); }
  };
  struct Tally {
    Counts all;     // since the start, or the last recovery
    Counts recent;  // the last kWindow rounds
    std::bitset<kWindow> accepted;
    std::size_t next = 0;  // in `accepted`: the oldest round of a full window
    bool suspect = false;
    bool late = false;  // suspect after sound rounds: `recent` tells what is wrong, `all` does not
  };

  double limit() const;
  double deviation() const;  // of the rate of kWindow rounds, where the true one is limit()
  bool low(const Counts& counts) const;
  void judge(Tally& tally) const;

  std::optional<AcceptanceExpectation> expected_;
  Tally greedy_;
  Tally sampled_;
};

}  // namespace outrider
