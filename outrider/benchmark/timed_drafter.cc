#include "outrider/benchmark/timed_drafter.h"

#include <chrono>

namespace outrider {

class TimedDrafter::Timer {
 public:
  explicit Timer(const TimedDrafter& drafter) : drafter_(drafter), before_(drafter.model_times_) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() {
    drafter_.times_.seconds += std::chrono::duration<double>(Clock::now() - begin_).count();
    drafter_.times_.operations += drafter_.model_times_ - before_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  const TimedDrafter& drafter_;
  OperationTimes before_;
  Clock::time_point begin_ = Clock::now();
};

void TimedDrafter::observe(std::span<const ObservedItem> items, std::span<const Rows> streams) const {
  const Timer timer(*this);
  ForwardingDrafter::observe(items, streams);
}

std::vector<std::vector<DraftToken>> TimedDrafter::draft(std::span<const DraftItem> items) const {
  const Timer timer(*this);
  return ForwardingDrafter::draft(items);
}

}  // namespace outrider
