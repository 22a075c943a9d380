#pragma once

#include "outrider/architectures/model.h"
#include "outrider/decoding/drafter.h"

namespace outrider {

struct MtpState;

// Drafts with the checkpoint's MTP block 0: the first token from the model's streams, each further one from the block's
// own. The state of a sequence is the block's cache, which also covers the prompt (acceptance is poor otherwise), and
// the streams of the last positions, on which the block has not been run yet. Where nothing was drafted for long, these
// are the ones in the block's window: the block, whose keys depend on no other position, skips those before.
class MtpDrafter : public Drafter {
 public:
  // Heads from this size on are copied to 4 bits for drafts (architectures/deepseek_v4/narrow_head.h); a smaller one is
  // in the caches.
  static constexpr std::uint64_t kNarrowHeadFrom = 16 << 20;

  // Throws Error if the model has no MTP block.
  explicit MtpDrafter(const Model& model, std::uint64_t narrow_head_from = kNarrowHeadFrom);

  std::span<const std::size_t> target_layers() const override { return {&last_layer_, 1}; }
  std::unique_ptr<DrafterState> new_state(const SequenceLimits& limits) const override;
  std::uint64_t state_bytes(const SequenceLimits& limits) const override;
  void observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const override;
  std::uint64_t weight_bytes() const override;
  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override;

 private:
  // Positions whose streams are kept until the block is run on them.
  std::size_t most_pending() const;
  // Runs the block on all pending positions but the last `left`.
  void catch_up(MtpState& state, std::span<const std::uint32_t> tokens, std::size_t left) const;

  const Model& model_;
  std::size_t last_layer_;
};

}  // namespace outrider
