#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "outrider/backend/timed_backend.h"
#include "outrider/decoding/forwarding_drafter.h"

namespace outrider {

// What a drafter took so far: seconds, and those of its operations.
struct DrafterTimes {
  double seconds = 0;
  OperationTimes operations;
};

// Passes everything on to another drafter and measures it. `model_times`: of the drafter's model. Both references must
// outlive this.
class TimedDrafter : public ForwardingDrafter {
 public:
  TimedDrafter(std::unique_ptr<const Drafter> drafter, const OperationTimes& model_times, DrafterTimes& times)
      : ForwardingDrafter(std::move(drafter)), model_times_(model_times), times_(times) {}

  void observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const override;
  std::vector<std::vector<DraftToken>> draft(std::span<const DraftItem> items) const override;

 private:
  class Timer;

  const OperationTimes& model_times_;
  DrafterTimes& times_;
};

}  // namespace outrider
