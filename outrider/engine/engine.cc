#include "outrider/engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "outrider/util/seconds.h"

namespace outrider {
namespace {

Progress failure(const std::exception& error) {
  Progress end;
  end.outcome = Outcome::kFailed;
  try {
    end.out_of_memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
    if (!end.out_of_memory) end.error = error.what();
  } catch (const std::bad_alloc&) {
    end.out_of_memory = true;
  }
  return end;
}

}  // namespace

Engine::Engine(const Model& model, const Tokenizer& tokenizer, EngineOptions options, EngineObserver* observer)
    : model_(model),
      tokenizer_(tokenizer),
      options_(std::move(options)),
      observer_(observer),
      decoder_(model, {options_.speculative_config, options_.max_num_batched_tokens}),
      pool_(decoder_, options_.max_num_seqs, options_.max_model_len),
      prefill_(options_.max_num_seqs, options_.max_num_batched_tokens) {
  const std::size_t drafts = options_.speculative_config.num_speculative_tokens;
  const std::size_t min_tokens = options_.max_num_seqs * (1 + drafts);
  if (options_.max_num_seqs == 0) throw Error("max_num_seqs is 0; it must be at least 1.");
  if (options_.max_num_batched_tokens < min_tokens) {
    throw Error(fmt::format(
        "max_num_batched_tokens is {}; it must be at least {}: {} sequences (max_num_seqs) of {} token{} each.",
        options_.max_num_batched_tokens, min_tokens, options_.max_num_seqs, 1 + drafts,
        drafts == 0 ? "" : "s, draft tokens included,"));
  }
  running_.reserve(options_.max_num_seqs);
  held_.reserve(most_held());
  prompts_.reserve(options_.max_num_seqs);
  thread_ = std::thread([this] { run(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Engine::check(const Request& request) const {
  check_length(request.prompt.size(), request.params.max_tokens, options_.max_model_len);
  validate(request.params.sampling);
  const std::uint64_t vocab = model_.config().vocab_size;
  for (const std::uint32_t token : request.prompt) {
    if (token >= vocab) throw Error(fmt::format("prompt: token id {} is out of range (vocab_size {}).", token, vocab));
  }
  check_token_ids(request.params, vocab);
  for (const std::string& stop : request.text.stop) {
    if (stop.empty()) throw Error("stop: a stop string must not be empty.");
  }
}

void Engine::check_count(std::size_t sequences) const {
  if (sequences <= most_held()) return;
  throw Error(
      fmt::format("The request asks for {} sequences (its prompts times n), but the server never holds more than "
                  "{} (max_num_seqs + max_waiting). Send fewer prompts or a smaller n.",
                  sequences, most_held()));
}

std::vector<Engine::RequestId> Engine::submit(std::vector<Submission> submissions) {
  check_count(submissions.size());
  for (const Submission& submission : submissions) check(submission.request);
  std::vector<RequestId> ids(submissions.size());
  std::list<Waiting> accepted;
  for (Submission& submission : submissions) {
    const std::size_t prompt_tokens = submission.request.prompt.size();
    accepted.push_back({0, std::move(submission), Clock::now(), prompt_tokens});
  }
  {
    const std::lock_guard lock(mutex_);
    if (draining_) throw ShuttingDown("The server is shutting down and accepts no more requests.");
    if (held_.size() + ids.size() > most_held()) {
      throw QueueFull(fmt::format("The queue is full: {} requests are running and {} are waiting. Try again later.",
                                  held_.size() - waiting_.size(), waiting_.size()));
    }
    auto id = ids.begin();
    for (Waiting& waiting : accepted) {
      held_.push_back({next_id_});
      *id++ = waiting.id = next_id_++;
    }
    waiting_.splice(waiting_.end(), accepted);
  }
  wake_.notify_one();
  return ids;
}

void Engine::cancel(RequestId id) noexcept {
  {
    const std::lock_guard lock(mutex_);
    const auto held = find(id);
    if (held == held_.end()) return;
    held->cancelled = true;
    cancelled_ = true;
  }
  wake_.notify_one();
}

std::vector<Engine::Held>::iterator Engine::find(RequestId id) {
  const auto found = std::ranges::lower_bound(held_, id, {}, &Held::id);
  return found != held_.end() && found->id == id ? found : held_.end();
}

void Engine::forget(RequestId id) {
  const std::lock_guard lock(mutex_);
  held_.erase(find(id));
}

std::size_t Engine::drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto all_ended = [this] { return held_.empty(); };
  if (idle_.wait_for(lock, timeout, all_ended)) return 0;
  const std::size_t left = held_.size();
  stop_ = true;
  wake_.notify_one();
  idle_.wait(lock, all_ended);
  return left;
}

void Engine::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (held_.empty()) idle_.notify_all();
    wake_.wait(lock, [&] { return stop_ || cancelled_ || !waiting_.empty() || !running_.empty(); });
    std::list<Waiting> ended;
    bool changed = false;
    if (stop_ || cancelled_) {
      const auto leaves = [&](RequestId id) { return stop_ || find(id)->cancelled; };
      for (auto next = waiting_.begin(); next != waiting_.end();) {
        const auto waiting = next++;
        if (leaves(waiting->id)) ended.splice(ended.end(), waiting_, waiting);
      }
      changed = !ended.empty();
      for (const auto& running : running_) {
        if (!leaves(running->id)) continue;
        running->progress.outcome = Outcome::kCancelled;
        changed = true;
      }
      cancelled_ = false;
    }
    std::list<Waiting> admitted = next_admitted(static_cast<std::size_t>(
        std::ranges::count_if(running_, [](const auto& running) { return running->progress.outcome.has_value(); })));
    const bool last = stop_;
    lock.unlock();

    for (Waiting& waiting : ended) {
      Progress progress;
      progress.outcome = Outcome::kCancelled;
      end_waiting(waiting, std::move(progress));
    }
    retire();
    for (Waiting& waiting : admitted) admit(waiting);
    if (!running_.empty()) {
      step();
    } else if (changed) {
      report({});
    }

    lock.lock();
    if (last) break;
  }
  idle_.notify_all();
}

std::list<Engine::Waiting> Engine::next_admitted(std::size_t leaving) {
  std::size_t room = options_.max_num_seqs - (running_.size() - leaving);
  prompts_.clear();
  for (const auto& running : running_) {
    const Generation& generation = running->generation;
    if (running->progress.outcome || generation.prompt_tokens_left() <= 1) continue;
    prompts_.push_back(generation.prompt_tokens() - generation.reused_tokens());
  }
  std::list<Waiting> admitted;
  deferred_count_ = 0;
  for (auto next = waiting_.begin(); next != waiting_.end() && room != 0;) {
    const auto waiting = next++;
    const std::size_t tokens = waiting->submission.request.prompt.size();
    if (!prefill_.has_room(tokens, prompts_)) {
      ++deferred_count_;
      continue;
    }
    prompts_.push_back(tokens);
    --room;
    admitted.splice(admitted.end(), waiting_, waiting);
  }
  return admitted;
}

void Engine::admit(Waiting& waiting) {
  const auto admitted = Clock::now();
  Request& request = waiting.submission.request;
  // Logprobs of the prompt need a pass over all of it.
  const bool resumes = options_.prefix_caching && request.reuse && !request.params.prompt_logprobs;
  using Tokens = std::span<const std::uint32_t>;
  ProcessedSequence text = pool_.take(resumes ? Tokens(request.prompt) : Tokens());
  if (!resumes) text.clear();
  std::optional<Generation> generation;
  try {
    generation.emplace(model_, std::move(text), std::move(request.prompt), request.params);
    if (request.mask != nullptr) generation->constrain(std::move(request.mask));
    running_.push_back(std::make_unique<RunningRequest>(waiting.id, request, waiting.submission.sink, tokenizer_,
                                                        std::move(*generation), waiting.submitted, admitted));
  } catch (const std::exception& e) {
    if (generation) text = std::move(*generation).take_processed();
    text.clear();
    pool_.give_back(std::move(text));
    end_waiting(waiting, failure(e));
  }
}

std::vector<StepItem> Engine::plan_step() {
  std::size_t budget = options_.max_num_batched_tokens;
  std::vector<StepItem> items;
  std::vector<RunningRequest*> prompts;
  for (const auto& running : running_) {
    if (running->generation.prompt_tokens_left() > 1) {
      prompts.push_back(running.get());
    } else {
      items.push_back({&running->generation, 1});
      budget -= std::min(budget, 1 + options_.speculative_config.num_speculative_tokens);
    }
  }
  std::ranges::stable_sort(prompts, {}, &RunningRequest::id);
  std::vector<PrefillScheduler::Prompt> wanted;
  for (const RunningRequest* prompt : prompts) {
    wanted.push_back({prompt->generation.prompt_tokens_left(), prompt->wants_prompt_logprobs});
  }
  const std::vector<std::size_t> shares = prefill_.share(budget, wanted, !items.empty());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (shares[i] != 0) items.push_back({&prompts[i]->generation, shares[i]});
  }
  return items;
}

void Engine::step() {
  StepReport step;
  std::vector<StepItem> items;
  try {
    items = plan_step();
    for (const StepItem& item : items) {
      step.processed_prompt_tokens += std::min(item.prompt_tokens, item.generation->prompt_tokens_left());
    }
    const auto begun = Clock::now();
    decoder_.step(items);
    prefill_.record(step.processed_prompt_tokens, seconds(Clock::now() - begun));
  } catch (const std::bad_alloc&) {
    // Not even for the plan. The others may go on with what the last one held.
    running_.back()->run_out_of_memory();
    retire();
    return report({});
  } catch (const std::exception& e) {
    fail_all(e);
    return report({});
  }
  for (const auto& running : running_) {
    const bool stepped =
        std::ranges::any_of(items, [&](const StepItem& item) { return item.generation == &running->generation; });
    if (stepped) running->advance(step, options_.speculative_config.num_speculative_tokens);
  }
  report(std::move(step));
  bool lost = false;
  for (const auto& running : running_) {
    Progress& progress = running->progress;
    if (!progress.outcome && !(progress.tokens.empty() && progress.text.empty())) {
      try {
        running->sink(std::exchange(progress, {}));
      } catch (const std::exception&) {
        running->run_out_of_memory();
      }
      lost = lost || progress.outcome;
    }
    running->end_if_stuck();
  }
  retire();
  if (lost) report({});
}

// Notifies the requests that have ended and releases their sequences.
void Engine::retire() {
  std::size_t ended = 0;
  for (auto& running : running_) {
    if (!running->progress.outcome) continue;
    const RequestId id = running->id;
    finish(*running, *running->progress.outcome);
    running.reset();
    forget(id);
    ++ended;
  }
  if (ended != 0) std::erase(running_, nullptr);
}

void Engine::finish(RunningRequest& running, Outcome outcome) {
  Generation& generation = running.generation;
  Progress& progress = running.progress;
  try {
    progress.speculation = generation.counts();
  } catch (const std::bad_alloc&) {
    running.run_out_of_memory();
    outcome = Outcome::kFailed;
  }
  progress.cached_tokens = generation.reused_tokens();
  report_end(running.report(outcome));
  ProcessedSequence text = std::move(generation).take_processed();
  if (outcome == Outcome::kFailed || !running.reuse) text.clear();
  pool_.give_back(std::move(text));
  end(running.sink, std::move(progress));
}

void Engine::end(ProgressSink& sink, Progress last) noexcept {
  try {
    return sink(std::move(last));
  } catch (const std::exception&) {
  }
  try {
    Progress without;
    without.outcome = Outcome::kFailed;
    without.out_of_memory = true;
    sink(std::move(without));
  } catch (const std::exception&) {
    // The sink has done what it could.
  }
}

void Engine::fail_all(const std::exception& error) {
  for (const auto& running : running_) running->progress = failure(error);
  retire();
}

void Engine::end_waiting(Waiting& waiting, Progress end_of_it) {
  RequestReport report;
  report.outcome = *end_of_it.outcome;
  report.prompt_tokens = waiting.prompt_tokens;
  report.max_tokens = waiting.submission.request.params.max_tokens;
  report.latency = report.queue_time = seconds(Clock::now() - waiting.submitted);
  report_end(report);
  end(waiting.submission.sink, std::move(end_of_it));
  waiting.submission.sink = nullptr;  // the sink may be destroyed as soon as the caller has seen the end
  forget(waiting.id);
}

void Engine::report_end(const RequestReport& report) {
  if (observer_ == nullptr) return;
  try {
    observer_->on_finished(report);
  } catch (const std::bad_alloc&) {
  }
}

void Engine::report(StepReport report) {
  if (observer_ == nullptr) return;
  std::uint64_t filled = 0;
  for (const auto& running : running_) {
    if (running->ends()) continue;
    ++report.running;
    filled += running->generation.tokens().size() - running->generation.prompt_tokens_left();
  }
  report.kv_usage = static_cast<double>(filled) / static_cast<double>(options_.max_num_seqs * options_.max_model_len);
  {
    const std::lock_guard lock(mutex_);
    report.waiting = waiting_.size();
    report.deferred = deferred_count_;
  }
  try {
    return observer_->on_step(report);
  } catch (const std::bad_alloc&) {
  }
  try {
    StepReport state;
    state.running = report.running;
    state.waiting = report.waiting;
    state.deferred = report.deferred;
    state.kv_usage = report.kv_usage;
    observer_->on_step(state);
  } catch (const std::bad_alloc&) {
    // The next report has it.
  }
}

}  // namespace outrider
