#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

#include "outrider/engine/engine_observer.h"

namespace outrider {

// vLLM's periodic log lines, which people grep for. May be used from any thread.
class PeriodicReport {
 public:
  void add(const StepReport& report);

  // The lines for the `seconds` since the last call; none if nothing happened.
  //   Avg prompt throughput: … tokens/s, Avg generation throughput: … tokens/s, Running: … reqs, Waiting: … reqs, …
  //   SpecDecoding metrics: Mean acceptance length: 1.70, Accepted throughput: … tokens/s, …
  std::vector<std::string> lines(double seconds);

 private:
  std::mutex mutex_;
  StepReport since_;
  bool idle_ = true;  // since the last call
};

}  // namespace outrider
