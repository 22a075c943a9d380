#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "outrider/engine/request.h"

namespace outrider {

// One sequence's draft round.
struct RoundReport {
  DraftRound round;
  bool sampled = false;  // temperature > 0
};

// The result of one step, or of a change of the queue. Times are in seconds.
struct StepReport {
  std::size_t running = 0;  // after the step
  std::size_t waiting = 0;
  std::size_t deferred = 0;                 // of these, long prompts that leave sequences to short ones
  double kv_usage = 0;                      // 0 to 1: the fraction of the planned memory that running sequences fill
  std::size_t processed_prompt_tokens = 0;  // by the step, of any prompt
  std::size_t prompt_tokens = 0;            // of the prompts that were completed
  std::size_t cached_tokens = 0;            // of these, reused from the prefix cache
  std::size_t generation_tokens = 0;
  SpeculationCounts speculation;
  std::vector<RoundReport> rounds;          // `speculation` is their sum
  std::vector<double> time_to_first_token;  // from submission, of requests that got their first token
  std::vector<double> inter_token;          // from the previous step with output, of the others
};

struct RequestReport {
  Outcome outcome = Outcome::kCancelled;
  std::size_t prompt_tokens = 0;
  std::size_t cached_tokens = 0;  // of these, reused from the prefix cache
  std::size_t generation_tokens = 0;
  std::size_t max_tokens = 0;  // as requested
  // Seconds. A request that ended in a phase spent the time until then in it, and none in later phases.
  double latency = 0;                  // from submission
  double queue_time = 0;               // from submission to admission
  std::optional<double> prefill_time;  // from admission to the first token
  std::optional<double> decode_time;   // from the first token to the last one
  double time_per_output_token = 0;    // mean, without the first token; 0 if there is at most one
};

// Called on the engine's thread, before the requests' sinks; must not block. If on_step throws std::bad_alloc, it is
// called again with the queue's state only; if on_finished does, the report is lost.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  virtual void on_step(const StepReport& report) = 0;
  virtual void on_finished(const RequestReport& report) = 0;
};

}  // namespace outrider
