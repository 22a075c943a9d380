#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "outrider/decoding/decoder.h"
#include "outrider/engine/engine_observer.h"
#include "outrider/engine/prefill_scheduler.h"
#include "outrider/engine/request.h"
#include "outrider/engine/running_request.h"
#include "outrider/engine/sequence_pool.h"
#include "outrider/util/error.h"

namespace outrider {

struct EngineOptions {
  std::size_t max_num_seqs = 16;             // maximum number of concurrent sequences
  std::size_t max_num_batched_tokens = 512;  // tokens per step; at least max_num_seqs * (1 + num_speculative_tokens)
  std::uint64_t max_model_len = 0;           // maximum length of a sequence: prompt and output
  std::size_t max_waiting = 256;             // maximum number of queued requests, beyond the running ones
  SpeculativeConfig speculative_config;
  bool prefix_caching = true;  // reuse the sequences of earlier requests as prefixes
};

// The queue is full; the client may retry later.
class QueueFull : public Error {
 public:
  using Error::Error;
};
// The engine accepts no more requests.
class ShuttingDown : public Error {
 public:
  using Error::Error;
};

// Generates many sequences concurrently, on its own thread. Requests join and leave the batch between steps, first
// come, first served, except that long prompts hold a part of the sequences at most. Each step advances every
// sequence that is decoding; prompts share the rest of the token budget as PrefillScheduler says. A prompt whose prefix
// is cached is processed from the end of that prefix on.
//
// Each output is identical to what Decoder generates for that request alone.
//
// A request for which there is not enough memory ends (Progress::out_of_memory); the others go on.
class Engine {
 public:
  using RequestId = std::uint64_t;
  struct Submission {
    Request request;
    ProgressSink sink;
  };

  // `observer` may be null; it, the model and the tokenizer must outlive the engine. Throws Error if the options
  // contradict each other or the model, or if there is not enough memory.
  Engine(const Model& model, const Tokenizer& tokenizer, EngineOptions options, EngineObserver* observer = nullptr);
  // Cancels all requests that have not ended.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const EngineOptions& options() const { return options_; }

  // Throws Error if so many requests can never be held at once.
  void check_count(std::size_t sequences) const;
  // Throws Error if a request can never run, QueueFull or ShuttingDown; then no request was accepted.
  std::vector<RequestId> submit(std::vector<Submission> submissions);
  // Ends the request before the next step; a no-op if it has ended already. Needs no memory.
  void cancel(RequestId id) noexcept;

  // Accepts no more requests and waits until all have ended; cancels those that have not after `timeout`. Returns the
  // number of cancelled requests.
  std::size_t drain(std::chrono::milliseconds timeout);

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    RequestId id = 0;
    Submission submission;
    Clock::time_point submitted;
    std::size_t prompt_tokens = 0;
  };
  std::size_t most_held() const { return options_.max_num_seqs + options_.max_waiting; }
  // A request that was accepted and has not ended.
  struct Held {
    RequestId id = 0;
    bool cancelled = false;
  };

  void check(const Request& request) const;
  void run();
  // Takes from waiting_ what may join the batch. `leaving`: running sequences that are about to end.
  std::list<Waiting> next_admitted(std::size_t leaving);
  void admit(Waiting& waiting);
  std::vector<StepItem> plan_step();
  void step();
  void finish(RunningRequest& running, Outcome outcome);
  void retire();
  void fail_all(const std::exception& error);
  void end_waiting(Waiting& waiting, Progress end);
  void end(ProgressSink& sink, Progress last) noexcept;
  void forget(RequestId id);
  std::vector<Held>::iterator find(RequestId id);  // in held_; its end if the request has ended
  void report_end(const RequestReport& report);
  void report(StepReport report);

  const Model& model_;
  const Tokenizer& tokenizer_;
  EngineOptions options_;
  EngineObserver* observer_;
  Decoder decoder_;

  // Used only on the engine's thread.
  SequencePool pool_;
  PrefillScheduler prefill_;
  std::vector<std::size_t> prompts_;  // of next_admitted(): the lengths of those in the batch
  std::vector<std::unique_ptr<RunningRequest>> running_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::list<Waiting> waiting_;
  std::vector<Held> held_;          // by id; as many as there may be are reserved
  bool cancelled_ = false;          // one of them is
  std::size_t deferred_count_ = 0;  // of waiting_: long prompts that leave sequences to short ones
  RequestId next_id_ = 1;
  bool draining_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace outrider
