#pragma once

#include <vector>

#include "outrider/architectures/model.h"
#include "outrider/decoding/drafter.h"

namespace outrider {

struct DsparkState;

// Drafts with the checkpoint's DSpark drafter: one run of its stages per round, whatever the number of drafts. The
// state of a sequence is the stages' keys, and the means of the target layers' streams at the last positions, from
// which no keys were computed yet: where nothing was drafted for long, only those in the window.
class DsparkDrafter : public Drafter {
 public:
  // Throws Error if the checkpoint has no DSpark drafter. `narrow_head_from`: as in MtpDrafter.
  explicit DsparkDrafter(const Model& model, std::uint64_t narrow_head_from);

  std::span<const std::size_t> target_layers() const override { return target_layers_; }
  bool drafts_at_once() const override { return true; }
  std::unique_ptr<DrafterState> new_state(const SequenceLimits& limits) const override;
  std::uint64_t state_bytes(const SequenceLimits& limits) const override;
  std::uint64_t weight_bytes() const override;
  void observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const override;
  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override;

 private:
  // Positions whose means are kept: the window of a sequence that is rolled back as far as it may be.
  std::size_t most_pending() const;
  // Computes the keys of all positions observed.
  void catch_up(std::span<DsparkState* const> states) const;

  const Model& model_;
  std::vector<std::size_t> target_layers_;
};

}  // namespace outrider
