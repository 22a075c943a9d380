#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "outrider/backend/timed_backend.h"
#include "outrider/decoding/drafter.h"

namespace outrider {

// What a drafter took so far: seconds, and those of its operations.
struct DrafterTimes {
  double seconds = 0;
  OperationTimes operations;
};

// Passes everything on to another drafter and measures it. `model_times`: of the drafter's model. Both references must
// outlive this.
class TimedDrafter : public Drafter {
 public:
  TimedDrafter(std::unique_ptr<const Drafter> drafter, const OperationTimes& model_times, DrafterTimes& times)
      : drafter_(std::move(drafter)), model_times_(model_times), times_(times) {}

  std::span<const std::size_t> target_layers() const override { return drafter_->target_layers(); }
  bool drafts_at_once() const override { return drafter_->drafts_at_once(); }
  std::unique_ptr<DrafterState> new_state(const SequenceLimits& limits) const override {
    return drafter_->new_state(limits);
  }
  std::uint64_t state_bytes(const SequenceLimits& limits) const override { return drafter_->state_bytes(limits); }
  std::uint64_t weight_bytes() const override { return drafter_->weight_bytes(); }
  void observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const override;
  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override;

 private:
  class Timer;

  std::unique_ptr<const Drafter> drafter_;
  const OperationTimes& model_times_;
  DrafterTimes& times_;
};

}  // namespace outrider
