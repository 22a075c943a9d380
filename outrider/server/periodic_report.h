#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

#include "outrider/engine/engine_observer.h"

namespace outrider {

// vLLM's periodic lines of its log, which people grep for. May be used from any thread.
class PeriodicReport {
 public:
  void add(const StepReport& report);

  // What happened since the last call, `seconds` ago; nothing where nothing did.
  //   Avg prompt throughput: … tokens/s, Avg generation throughput: … tokens/s, Running: … reqs, Waiting: … reqs, …
  //   SpecDecoding metrics: Mean acceptance length: 1.70, Accepted throughput: … tokens/s, …
  std::vector<std::string> lines(double seconds);

 private:
  std::mutex mutex_;
  StepReport since_;
  bool idle_ = true;  // as of the last call
};

}  // namespace outrider
