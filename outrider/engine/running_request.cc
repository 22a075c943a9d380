#include "outrider/engine/running_request.h"

#include <new>
#include <utility>

#include "outrider/util/seconds.h"

namespace outrider {

RunningRequest::RunningRequest(std::uint64_t id, Request& request, ProgressSink& sink, const Tokenizer& tokenizer,
                               Generation&& generation, Clock::time_point submitted, Clock::time_point admitted)
    : include_stop_(request.text.include_stop),
      stream_(tokenizer, std::move(request.text)),
      id(id),
      wants_prompt_logprobs(request.params.prompt_logprobs.has_value()),
      reuse(request.reuse),
      generation(std::move(generation)),
      sink(std::move(sink)),
      submitted_(submitted),
      admitted_(admitted) {}

void RunningRequest::advance(StepReport& report, std::size_t num_speculative_tokens) {
  try {
    if (generation.out_of_memory()) return run_out_of_memory();
    take_step(report, num_speculative_tokens);
  } catch (const std::bad_alloc&) {
    run_out_of_memory();
  }
}

void RunningRequest::take_step(StepReport& report, std::size_t num_speculative_tokens) {
  const auto now = Clock::now();
  std::optional<Outcome> outcome;
  if (generation.finished()) {
    outcome = *generation.finished() == FinishReason::kStop ? Outcome::kStop : Outcome::kLength;
  }
  const auto tokens = generation.new_tokens();
  for (const OutputToken& token : tokens) {
    progress.tokens.push_back(token);
    const bool stop_token = outcome == Outcome::kStop && &token == &tokens.back();
    if (!stop_token || include_stop_) progress.text += stream_.push(token.id);
    if (!stream_.stopped_by()) continue;
    outcome = Outcome::kStop;
    progress.stop_string = stream_.stopped_by();
    break;
  }
  if (outcome) progress.text += stream_.finish();
  progress.speculation = generation.counts();

  if (!progress.tokens.empty()) {
    if (generated_ == 0) {
      const auto logprobs = generation.prompt_logprobs();
      progress.prompt_logprobs.assign(logprobs.begin(), logprobs.end());
      first_token_ = now;
      report.time_to_first_token.push_back(seconds(now - submitted_));
      report.prompt_tokens += generation.prompt_tokens();
      report.cached_tokens += generation.reused_tokens();
    } else {
      report.inter_token.push_back(seconds(now - last_token_));
    }
    last_token_ = now;
    generated_ += progress.tokens.size();
    report.generation_tokens += progress.tokens.size();
  }
  const DraftRound& round = generation.round();
  progress.round = round;
  report.speculation.add(round, num_speculative_tokens);
  if (round.drafted != 0) report.rounds.push_back({round, !generation.params().sampling.greedy()});
  progress.outcome = outcome;
  stuck_ = !outcome && !generation.error().empty();
}

void RunningRequest::end_if_stuck() {
  if (!stuck_ || progress.outcome) return;
  try {
    progress.error = generation.error();
    progress.outcome = Outcome::kRefused;
  } catch (const std::bad_alloc&) {
    run_out_of_memory();
  }
}

void RunningRequest::run_out_of_memory() {
  progress = {};
  progress.outcome = Outcome::kFailed;
  progress.out_of_memory = true;
}

RequestReport RunningRequest::report(Outcome outcome) const {
  RequestReport report;
  report.outcome = outcome;
  report.prompt_tokens = generation.prompt_tokens();
  report.cached_tokens = generation.reused_tokens();
  report.generation_tokens = generated_;
  report.max_tokens = generation.params().max_tokens;
  const auto now = Clock::now();
  report.latency = seconds(now - submitted_);
  report.queue_time = seconds(admitted_ - submitted_);
  report.prefill_time = seconds((generated_ == 0 ? now : first_token_) - admitted_);
  if (generated_ != 0) report.decode_time = seconds(last_token_ - first_token_);
  if (generated_ > 1) {
    report.time_per_output_token = seconds(last_token_ - first_token_) / static_cast<double>(generated_ - 1);
  }
  return report;
}

}  // namespace outrider
