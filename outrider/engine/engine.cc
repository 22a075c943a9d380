#include "outrider/engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "outrider/engine/prefill_share.h"

namespace outrider {
namespace {

// Prompt logprobs need a row of logits for each prompt token.
constexpr std::size_t kPromptLogprobsPerStep = 64;

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

struct Engine::Running {
  Running(RequestId request_id, Waiting waiting, const Tokenizer& tokenizer, Generation text)
      : id(request_id),
        sink(std::move(waiting.submission.sink)),
        generation(std::move(text)),
        stream(tokenizer, std::move(waiting.submission.request.text)),
        include_stop(waiting.submission.request.text.include_stop),
        prompt_logprobs(waiting.submission.request.params.prompt_logprobs.has_value()),
        reuse(waiting.submission.request.reuse),
        submitted(waiting.submitted) {}

  RequestId id;
  ProgressSink sink;
  Generation generation;
  TextStream stream;
  bool include_stop;
  bool prompt_logprobs;
  bool reuse;
  Clock::time_point submitted;
  Clock::time_point admitted;
  Clock::time_point first_token;
  Clock::time_point last_token;
  std::size_t generated = 0;
  Progress progress;  // of this step
};

Engine::Engine(const Model& model, const Tokenizer& tokenizer, EngineOptions options, EngineObserver* observer)
    : model_(model),
      tokenizer_(tokenizer),
      options_(std::move(options)),
      observer_(observer),
      decoder_(model, {options_.speculative_config, options_.max_num_batched_tokens}),
      pool_(decoder_, options_.max_num_seqs, options_.max_model_len) {
  const std::size_t drafts = options_.speculative_config.num_speculative_tokens;
  const std::size_t min_tokens = options_.max_num_seqs * (1 + drafts);
  if (options_.max_num_seqs == 0) throw Error("max_num_seqs is 0; it must be at least 1.");
  if (options_.max_num_batched_tokens < min_tokens) {
    throw Error(fmt::format(
        "max_num_batched_tokens is {}; it must be at least {}: {} sequences (max_num_seqs) of {} token{} each.",
        options_.max_num_batched_tokens, min_tokens, options_.max_num_seqs, 1 + drafts,
        drafts == 0 ? "" : "s, draft tokens included,"));
  }
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

std::vector<Engine::RequestId> Engine::submit(std::vector<Submission> submissions) {
  for (const Submission& submission : submissions) check(submission.request);
  std::vector<RequestId> ids;
  {
    const std::lock_guard lock(mutex_);
    if (draining_) throw ShuttingDown("The server is shutting down and accepts no more requests.");
    const std::size_t room = options_.max_num_seqs + options_.max_waiting;
    if (submissions.size() > room) {
      throw Error(
          fmt::format("The request asks for {} sequences (its prompts times n), but the server never holds more than "
                      "{} (max_num_seqs + max_waiting). Send fewer prompts or a smaller n.",
                      submissions.size(), room));
    }
    if (waiting_.size() + running_count_ + submissions.size() > room) {
      throw QueueFull(fmt::format("The queue is full: {} requests are running and {} are waiting. Try again later.",
                                  running_count_, waiting_.size()));
    }
    const auto now = Clock::now();
    for (Submission& submission : submissions) {
      ids.push_back(next_id_);
      waiting_.push_back({next_id_++, std::move(submission), now});
    }
  }
  wake_.notify_one();
  return ids;
}

void Engine::cancel(RequestId id) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.insert(id);
  }
  wake_.notify_one();
}

std::size_t Engine::drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto all_ended = [this] { return waiting_.empty() && running_count_ == 0; };
  if (idle_.wait_for(lock, timeout, all_ended)) return 0;
  const std::size_t left = waiting_.size() + running_count_;
  stop_ = true;
  wake_.notify_one();
  idle_.wait(lock, all_ended);
  return left;
}

void Engine::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (waiting_.empty() && running_count_ == 0) idle_.notify_all();
    wake_.wait(lock, [&] { return stop_ || !waiting_.empty() || !running_.empty() || !cancelled_.empty(); });
    std::deque<Waiting> ended;
    const auto leaves = [&](RequestId id) { return stop_ || cancelled_.contains(id); };
    for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
      if (leaves(waiting->id)) {
        ended.push_back(std::move(*waiting));
        waiting = waiting_.erase(waiting);
      } else {
        ++waiting;
      }
    }
    bool changed = !ended.empty();
    running_count_ += ended.size();  // until they have been notified
    for (const auto& running : running_) {
      if (!leaves(running->id)) continue;
      running->progress.outcome = Outcome::kCancelled;
      changed = true;
    }
    cancelled_.clear();
    std::vector<Waiting> admitted = next_admitted(static_cast<std::size_t>(
        std::ranges::count_if(running_, [](const auto& running) { return running->progress.outcome.has_value(); })));
    running_count_ += admitted.size();
    const bool last = stop_;
    lock.unlock();

    for (Waiting& waiting : ended) end_waiting(waiting, Outcome::kCancelled, "");
    retire();
    for (Waiting& waiting : admitted) admit(std::move(waiting));
    if (!running_.empty()) {
      step();
    } else if (changed) {
      StepReport nothing;
      report(nothing);
    }

    lock.lock();
    if (last) break;
  }
  idle_.notify_all();
}

std::vector<Engine::Waiting> Engine::next_admitted(std::size_t leaving) {
  // Of more than one step.
  const auto is_long = [this](std::size_t tokens) { return tokens > options_.max_num_batched_tokens; };
  std::size_t room = options_.max_num_seqs - (running_.size() - leaving);
  const auto long_running = static_cast<std::size_t>(std::ranges::count_if(running_, [&](const auto& running) {
    return !running->progress.outcome && is_long(running->generation.prompt_tokens_left());
  }));
  const std::size_t long_most = options_.max_num_seqs - options_.max_num_seqs / 4;
  std::size_t long_room = long_most - std::min(long_most, long_running);
  std::vector<Waiting> admitted;
  deferred_count_ = 0;
  for (auto waiting = waiting_.begin(); waiting != waiting_.end() && room != 0;) {
    const bool is_long_prompt = is_long(waiting->submission.request.prompt.size());
    if (is_long_prompt && long_room == 0) {
      ++deferred_count_;
      ++waiting;
      continue;
    }
    if (is_long_prompt) --long_room;
    --room;
    admitted.push_back(std::move(*waiting));
    waiting = waiting_.erase(waiting);
  }
  return admitted;
}

void Engine::admit(Waiting waiting) {
  const auto admitted = Clock::now();
  Request& request = waiting.submission.request;
  try {
    ProcessedSequence text = pool_.take(request.prompt);
    if (!options_.prefix_caching || !request.reuse) text.clear();
    Generation generation(model_, std::move(text), std::move(request.prompt), request.params);
    if (request.mask != nullptr) generation.constrain(std::move(request.mask));
    const RequestId id = waiting.id;
    running_.push_back(std::make_unique<Running>(id, std::move(waiting), tokenizer_, std::move(generation)));
    running_.back()->admitted = admitted;
  } catch (const std::exception& e) {
    pool_.give_back(decoder_.new_sequence({options_.max_model_len, kMaxRollback}));
    end_waiting(waiting, Outcome::kFailed, e.what());
  }
}

std::vector<StepItem> Engine::plan_step() {
  std::size_t budget = options_.max_num_batched_tokens;
  std::vector<StepItem> items;
  std::vector<Running*> prompts;
  for (const auto& running : running_) {
    if (running->generation.prompt_tokens_left() > 1) {
      prompts.push_back(running.get());
    } else {
      items.push_back({&running->generation, 1});
      budget -= std::min(budget, 1 + options_.speculative_config.num_speculative_tokens);
    }
  }
  std::ranges::stable_sort(prompts, {}, &Running::id);
  std::vector<std::size_t> wanted;
  for (const Running* prompt : prompts) {
    const std::size_t left = prompt->generation.prompt_tokens_left();
    wanted.push_back(prompt->prompt_logprobs ? std::min(left, kPromptLogprobsPerStep) : left);
  }
  const std::vector<std::size_t> shares = share_prefill(budget, wanted);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (shares[i] != 0) items.push_back({&prompts[i]->generation, shares[i]});
  }
  return items;
}

void Engine::step() {
  const std::vector<StepItem> items = plan_step();
  StepReport step;
  for (const StepItem& item : items) {
    step.processed_prompt_tokens += std::min(item.prompt_tokens, item.generation->prompt_tokens_left());
  }
  try {
    decoder_.step(items);
  } catch (const std::exception& e) {
    fail(e.what());
    StepReport nothing;
    report(nothing);
    return;
  }
  for (const auto& running : running_) {
    const bool stepped =
        std::ranges::any_of(items, [&](const StepItem& item) { return item.generation == &running->generation; });
    if (stepped) advance(*running, step);
  }
  report(step);
  for (const auto& running : running_) {
    Progress& progress = running->progress;
    if (progress.outcome || (progress.tokens.empty() && progress.text.empty())) continue;
    running->sink(std::exchange(progress, {}));
  }
  retire();
}

void Engine::advance(Running& running, StepReport& report) {
  Generation& generation = running.generation;
  const auto now = Clock::now();
  Progress& progress = running.progress;
  if (const std::string_view error = generation.error(); !error.empty()) {
    progress.outcome = Outcome::kRefused;
    progress.error = error;
    return;
  }
  std::optional<Outcome> outcome;
  if (generation.finished()) {
    outcome = *generation.finished() == FinishReason::kStop ? Outcome::kStop : Outcome::kLength;
  }
  const auto tokens = generation.new_tokens();
  for (const OutputToken& token : tokens) {
    progress.tokens.push_back(token);
    const bool stop_token = outcome == Outcome::kStop && &token == &tokens.back();
    if (!stop_token || running.include_stop) progress.text += running.stream.push(token.id);
    if (!running.stream.stopped_by()) continue;
    outcome = Outcome::kStop;
    progress.stop_string = running.stream.stopped_by();
    break;
  }
  if (outcome) progress.text += running.stream.finish();
  progress.speculation = generation.counts();

  if (!progress.tokens.empty()) {
    if (running.generated == 0) {
      const auto logprobs = generation.prompt_logprobs();
      progress.prompt_logprobs.assign(logprobs.begin(), logprobs.end());
      running.first_token = now;
      report.time_to_first_token.push_back(seconds(now - running.submitted));
      report.prompt_tokens += generation.prompt_tokens();
      report.cached_tokens += generation.reused_tokens();
    } else {
      report.inter_token.push_back(seconds(now - running.last_token));
    }
    running.last_token = now;
    running.generated += progress.tokens.size();
    report.generation_tokens += progress.tokens.size();
  }
  const DraftRound& round = generation.round();
  progress.round = round;
  report.speculation.add(round, options_.speculative_config.num_speculative_tokens);
  if (round.drafted != 0) report.rounds.push_back({round, !generation.params().sampling.greedy()});
  progress.outcome = outcome;
}

// Notifies the requests that have ended and releases their sequences.
void Engine::retire() {
  std::size_t ended = 0;
  for (auto& running : running_) {
    if (!running->progress.outcome) continue;
    finish(*running, *running->progress.outcome);
    running.reset();
    ++ended;
  }
  if (ended == 0) return;
  std::erase(running_, nullptr);
  const std::lock_guard lock(mutex_);
  running_count_ -= ended;
}

void Engine::finish(Running& running, Outcome outcome) {
  Generation& generation = running.generation;
  if (observer_ != nullptr) {
    RequestReport report;
    report.outcome = outcome;
    report.prompt_tokens = generation.prompt_tokens();
    report.cached_tokens = generation.reused_tokens();
    report.generation_tokens = running.generated;
    report.max_tokens = generation.params().max_tokens;
    const auto now = Clock::now();
    report.latency = seconds(now - running.submitted);
    report.queue_time = seconds(running.admitted - running.submitted);
    report.prefill_time = seconds((running.generated == 0 ? now : running.first_token) - running.admitted);
    if (running.generated != 0) report.decode_time = seconds(running.last_token - running.first_token);
    if (running.generated > 1) {
      report.time_per_output_token =
          seconds(running.last_token - running.first_token) / static_cast<double>(running.generated - 1);
    }
    observer_->on_finished(report);
  }
  Progress& progress = running.progress;
  progress.outcome = outcome;
  progress.cached_tokens = generation.reused_tokens();
  progress.speculation = generation.counts();
  ProcessedSequence text = std::move(generation).take_processed();
  if (outcome == Outcome::kFailed || !running.reuse) text.clear();
  pool_.give_back(std::move(text));
  running.sink(std::move(progress));
}

void Engine::fail(const std::string& error) {
  for (const auto& running : running_) {
    running->progress.outcome = Outcome::kFailed;
    running->progress.error = error;
  }
  retire();
}

void Engine::end_waiting(Waiting& waiting, Outcome outcome, const std::string& error) {
  if (observer_ != nullptr) {
    RequestReport report;
    report.outcome = outcome;
    report.prompt_tokens = waiting.submission.request.prompt.size();
    report.max_tokens = waiting.submission.request.params.max_tokens;
    report.latency = seconds(Clock::now() - waiting.submitted);
    report.queue_time = report.latency;
    observer_->on_finished(report);
  }
  Progress progress;
  progress.outcome = outcome;
  progress.error = error;
  waiting.submission.sink(std::move(progress));
  waiting.submission.sink = nullptr;  // the sink may be destroyed as soon as the caller has seen the end
  const std::lock_guard lock(mutex_);
  --running_count_;
}

void Engine::report(StepReport& report) {
  if (observer_ == nullptr) return;
  std::uint64_t filled = 0;
  for (const auto& running : running_) {
    if (running->progress.outcome) continue;
    ++report.running;
    filled += running->generation.tokens().size() - running->generation.prompt_tokens_left();
  }
  report.kv_usage = static_cast<double>(filled) / static_cast<double>(options_.max_num_seqs * options_.max_model_len);
  {
    const std::lock_guard lock(mutex_);
    report.waiting = waiting_.size();
    report.deferred = deferred_count_;
  }
  observer_->on_step(report);
}

}  // namespace outrider
