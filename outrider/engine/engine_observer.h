#pragma once

#include <cstddef>
#include <vector>

#include "outrider/engine/request.h"

namespace outrider {

// A text's round of drafts.
struct RoundReport {
  DraftRound round;
  bool sampled = false;  // at a temperature, that is
};

// What a step, or a change of the queue, came to. Times are in seconds.
struct StepReport {
  std::size_t running = 0;  // afterwards
  std::size_t waiting = 0;
  double kv_usage = 0;            // 0 to 1: of the planned memory, what running texts have filled
  std::size_t prompt_tokens = 0;  // of prompts that were completed
  std::size_t cached_tokens = 0;  // of these, not processed again
  std::size_t generation_tokens = 0;
  SpeculationCounts speculation;
  std::vector<RoundReport> rounds;          // of which `speculation` is the sum
  std::vector<double> time_to_first_token;  // since they were submitted, of the requests that got one
  std::vector<double> inter_token;          // since the last step that gave tokens, of the others that got some
};

struct RequestReport {
  Outcome outcome = Outcome::kCancelled;
  std::size_t prompt_tokens = 0;
  std::size_t generation_tokens = 0;
  double latency = 0;                // since it was submitted
  double time_per_output_token = 0;  // after the first; 0 where there was one at most
};

// Called on the engine's thread, before the requests hear of it; must neither block nor throw.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void on_step(const StepReport& report) = 0;
  virtual void on_finished(const RequestReport& report) = 0;
};

}  // namespace outrider
