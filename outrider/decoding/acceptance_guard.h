#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "outrider/decoding/generation.h"

namespace outrider {

// The share of first drafts that should be accepted, and the source of that figure.
struct AcceptanceExpectation {
  double rate = 0;     // 0 to 1
  std::string source;  // "the model card"
};

// Detects drafters whose drafts are hardly ever accepted. Wrong drafter weights only cost speed, so no error reveals
// them: issue 43456 of vLLM went unnoticed for that reason.
//
// Only the first draft of each round counts: an MTP block that runs on its own streams may be less accurate further on.
// Greedy and sampled sequences are counted separately, because sampling itself lowers acceptance.
//
// Two rates are judged. The rate over all rounds since the start, or since the last recovery, distinguishes a faulty
// drafter from a poor one as sharply as the counts allow. The rate over a window of recent rounds detects late
// collapses and recoveries; it must differ from the limit by more than chance allows, so that the verdict does not
// flap.
class AcceptanceGuard {
 public:
  static constexpr std::uint64_t kDraftsNeeded = 256;    // of one kind, needed for a verdict
  static constexpr std::uint64_t kDraftsToCompare = 32;  // greedy drafts needed before they can exonerate the weights
  static constexpr std::size_t kWindow = 512;            // recent rounds of one kind
  // Limit if no rate is expected. Sound artifacts have 50 to 85%, known broken ones at most 16%, most of them 0.
  static constexpr double kLowest = 0.05;
  static constexpr double kFarBelow = 0.5;  // share of the expected rate
  // How far the window's rate must be below the limit to become suspect, and above it to recover: in standard
  // deviations of the rate of kWindow rounds.
  static constexpr double kDeviationsBelow = 2;
  static constexpr double kDeviationsAbove = 4;

  AcceptanceGuard() = default;
  explicit AcceptanceGuard(std::optional<AcceptanceExpectation> expected) : expected_(std::move(expected)) {}

  void add(const DraftRound& round, bool sampled);

  // Whether too few drafts are accepted, which may change with every round; and a sentence about it with the figures.
  bool suspect() const { return greedy_.suspect || sampled_.suspect; }
  std::string reason() const;
  // Whether greedy drafts are accepted at the expected rate, so that the weights are not the cause.
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
    std::size_t next = 0;  // index in `accepted` of the oldest round of a full window
    bool suspect = false;
    bool late = false;  // suspect after sound rounds: `recent` shows the fault, `all` does not
  };

  double limit() const;
  double deviation() const;  // of the rate of kWindow rounds, if the true rate is limit()
  bool low(const Counts& counts) const;
  void judge(Tally& tally) const;

  std::optional<AcceptanceExpectation> expected_;
  Tally greedy_;
  Tally sampled_;
};

}  // namespace outrider
