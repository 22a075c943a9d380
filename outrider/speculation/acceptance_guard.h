#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "outrider/speculation/generation.h"

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
// and sampled texts are counted apart, as sampling lowers acceptance by itself.
class AcceptanceGuard {
 public:
  static constexpr std::uint64_t kDraftsNeeded = 256;  // of one kind, before there is a verdict
  // Where nothing is expected. Sound artifacts have 50 to 85%; the worst ones known to be broken 16%, most of them 0.
  static constexpr double kLowest = 0.05;
  static constexpr double kFarBelow = 0.5;  // of what is expected

  AcceptanceGuard() = default;
  explicit AcceptanceGuard(std::optional<AcceptanceExpectation> expected) : expected_(std::move(expected)) {}

  void add(const DraftRound& round, bool sampled);

  // Whether too few drafts are accepted, of all so far; and a sentence on that, with the figures.
  bool suspect() const { return suspect(greedy_) || suspect(sampled_); }
  std::string reason() const;
  // Whether greedy drafts are accepted as they should be, so that it is not the weights.
  bool only_when_sampling() const { return suspect(sampled_) && greedy_.rounds != 0 && !low(greedy_); }

 private:
  struct Tally {
    std::uint64_t rounds = 0;
    std::uint64_t accepted = 0;
  };

  double limit() const;
  bool low(const Tally& tally) const;
  bool suspect(const Tally& tally) const { return tally.rounds >= kDraftsNeeded && low(tally); }

  std::optional<AcceptanceExpectation> expected_;
  Tally greedy_;
  Tally sampled_;
};

}  // namespace outrider
