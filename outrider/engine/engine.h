#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "outrider/decoding/decoder.h"
#include "outrider/engine/engine_observer.h"
#include "outrider/engine/request.h"
#include "outrider/engine/text_pool.h"
#include "outrider/util/error.h"

namespace outrider {

struct EngineOptions {
  std::size_t max_num_seqs = 16;             // texts that are written at once
  std::size_t max_num_batched_tokens = 512;  // that a step processes, at least max_num_seqs * (1 + drafts)
  std::uint64_t max_model_len = 0;           // tokens of a prompt and what follows it
  std::size_t max_waiting = 256;             // requests beyond the running ones
  std::size_t num_speculative_tokens = 0;
  bool prefix_caching = true;  // a prompt goes on from a known text that it begins with
};

// No room: try again later.
class QueueFull : public Error {
 public:
  using Error::Error;
};
// Nothing is taken any more.
class ShuttingDown : public Error {
 public:
  using Error::Error;
};

// Writes many texts at once, on a thread of its own. Requests join and leave between steps, first come first served; a
// step takes every text that is being written on, and what is left of its budget of tokens goes evenly to prompts. A
// prompt that goes on from a text which is still remembered is not processed again as far as that reaches.
//
// A text is what Decoder would write alone.
class Engine {
 public:
  using RequestId = std::uint64_t;
  struct Submission {
    Request request;
    ProgressSink sink;
  };

  // `observer` may be null; it, the model and the tokenizer must outlive the engine. Throws Error for options that
  // contradict each other or the model, and where memory does not suffice.
  Engine(const Model& model, const Tokenizer& tokenizer, EngineOptions options, EngineObserver* observer = nullptr);
  // Cancels what is left.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const EngineOptions& options() const { return options_; }

  // Throws Error for what can never run, QueueFull and ShuttingDown; then none of them was taken.
  std::vector<RequestId> submit(std::vector<Submission> submissions);
  // The request ends between steps, if it has not ended yet.
  void cancel(RequestId id);

  // Takes nothing more, and waits until all requests have ended; those that have not after `timeout` are cancelled.
  // Returns how many.
  std::size_t drain(std::chrono::milliseconds timeout);

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    RequestId id = 0;
    Submission submission;
    Clock::time_point submitted;
  };
  struct Running;

  void check(const Request& request) const;
  void run();
  void admit(Waiting waiting);
  std::vector<StepItem> plan_step();
  void step();
  void advance(Running& running, StepReport& report);
  void finish(Running& running, Outcome outcome);
  void retire();
  void fail(const std::string& error);
  void end_waiting(Waiting& waiting, Outcome outcome, const std::string& error);
  void report(StepReport& report);

  const Model& model_;
  const Tokenizer& tokenizer_;
  EngineOptions options_;
  EngineObserver* observer_;
  Decoder decoder_;

  // The thread's own.
  TextPool pool_;
  std::vector<std::unique_ptr<Running>> running_;
  std::size_t turn_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::deque<Waiting> waiting_;
  std::unordered_set<RequestId> cancelled_;
  std::size_t running_count_ = 0;  // taken from waiting_, not ended
  RequestId next_id_ = 1;
  bool draining_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace outrider
