#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "outrider/decoding/generation.h"
#include "outrider/engine/engine_observer.h"
#include "outrider/engine/request.h"
#include "outrider/engine/text_stream.h"

namespace outrider {

// A request of the batch: its sequence, the text so far, and what its client is told next.
class RunningRequest {
 public:
  using Clock = std::chrono::steady_clock;

  // Takes the request's text options and `sink`; if it throws, `sink` and `generation` are as they were.
  RunningRequest(std::uint64_t id, Request& request, ProgressSink& sink, const Tokenizer& tokenizer,
                 Generation&& generation, Clock::time_point submitted, Clock::time_point admitted);

  // Adds what a step of the sequence produced to `progress` and to the step's report. Without memory for it the request
  // ends.
  void advance(StepReport& report, std::size_t num_speculative_tokens);
  // Whether it ends with this step.
  bool ends() const { return progress.outcome.has_value() || stuck_; }
  // Ends the request if its output cannot go on. Call it once `sink` has the tokens before, which may be of the same
  // step.
  void end_if_stuck();
  // Ends the request; the others go on.
  void run_out_of_memory();
  // What is reported of a request that ends now.
  RequestReport report(Outcome outcome) const;

 private:
  bool include_stop_;
  TextStream stream_;  // constructed before `generation` and `sink` are taken, since it may throw

 public:
  const std::uint64_t id;
  const bool wants_prompt_logprobs;
  const bool reuse;  // Request::reuse
  Generation generation;
  ProgressSink sink;
  Progress progress;  // what `sink` has not been given

 private:
  void take_step(StepReport& report, std::size_t num_speculative_tokens);

  Clock::time_point submitted_;
  Clock::time_point admitted_;
  Clock::time_point first_token_;
  Clock::time_point last_token_;
  std::size_t generated_ = 0;
  bool stuck_ = false;  // generation.error(), unless the text has ended before
};

}  // namespace outrider
