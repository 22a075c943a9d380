#include "outrider/server/generation_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "outrider/server/api_error.h"
#include "outrider/server/choice.h"
#include "outrider/server/speculation_json.h"
#include "outrider/util/dumped_json.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

// Bytes of log probabilities, about, that an answer may keep until it is complete.
constexpr std::size_t kMaxLogprobBytes = std::size_t{128} << 20;

std::string response_id(const GenerationRequest& request) {
  const char* const prefix = request.chat ? "chatcmpl" : "cmpl";
  return request.id.empty() ? new_id(prefix) : fmt::format("{}-{}", prefix, request.id);
}

// Under DeepSeek's name and vLLM's.
void add_reasoning(ordered_json& message, const std::string& reasoning) {
  message["reasoning_content"] = reasoning;
  message["reasoning"] = reasoning;
}

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Runs on the connection's thread, except where it says otherwise. A part of the output that is lost for want of memory
// ends the call.
class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(Engine& engine, const Tokenizer& tokenizer, GenerationRequest request, CallOptions options,
       std::shared_ptr<HttpResponder> responder)
      : engine_(engine),
        request_(std::move(request)),
        options_(std::move(options)),
        responder_(std::move(responder)),
        id_(response_id(request_)),
        created_(unix_seconds()),
        unfinished_(request_.prompts.size() * request_.n) {
    for (std::size_t i = 0; i < unfinished_; ++i)
      choices_.emplace_back(request_, tokenizer, request_.prompts[i / request_.n]);
  }

  void start() {
    num_speculative_tokens_ = engine_.options().speculative_config.num_speculative_tokens;
    engine_.check_count(choices_.size());
    std::vector<Engine::Submission> submissions;
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      Request request;
      request.prompt = request_.prompts[i / request_.n];
      request.params = request_.params;
      // As in vLLM, each prompt has the choices of the given seed; random ones are independent.
      request.params.seed = request_.seed ? *request_.seed + i % request_.n : options_.seed + i;
      request.params.reproducible = request_.seed.has_value();
      request.text = request_.text;
      request.reuse = request_.reuse_prefixes;
      if (options_.mask) request.mask = options_.mask();
      submissions.push_back({std::move(request), [self = shared_from_this(), i](Progress progress) {
                               self->pass_on(i, std::move(progress));
                             }});
    }
    responder_->on_disconnect([self = weak_from_this()] {
      const auto call = self.lock();
      if (!call) return;
      call->gone_ = true;
      call->cancel();
    });
    std::vector<Engine::RequestId> ids = engine_.submit(std::move(submissions));
    const std::lock_guard lock(mutex_);
    ids_ = std::move(ids);
    if (cancelled_) cancel_all();
  }

 private:
  // On the engine's thread.
  void pass_on(std::size_t index, Progress progress) {
    const bool last_try = progress.out_of_memory;
    try {
      auto shared = std::make_shared<Progress>(std::move(progress));
      responder_->post([self = shared_from_this(), index, shared] { self->advance(index, *shared); });
    } catch (const std::bad_alloc&) {
      if (!last_try) throw;
      responder_->abort();
    }
  }

  void cancel() noexcept {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    cancel_all();
  }
  void cancel_all() noexcept {
    for (const Engine::RequestId id : ids_) engine_.cancel(id);
  }

  void advance(std::size_t index, const Progress& progress) noexcept {
    try {
      on_progress(index, progress);
    } catch (const std::bad_alloc&) {
      give_up(503, kOutOfMemory);
    } catch (const std::exception& e) {
      give_up(500, e.what());
    }
  }

  void give_up(unsigned status, const char* why) noexcept {
    if (failed_) return;
    try {
      fail(status, why);
    } catch (const std::exception&) {
      responder_->abort();
    }
  }

  const char* object_name() const {
    if (!request_.chat) return "text_completion";
    return request_.stream ? "chat.completion.chunk" : "chat.completion";
  }
  ordered_json envelope() const {
    return {{"id", id_}, {"object", object_name()}, {"created", created_}, {"model", options_.model}};
  }

  void on_progress(std::size_t index, const Progress& progress) {
    Choice& choice = choices_[index];
    if (failed_) return;
    if (!request_.stream) {
      held_ += bytes_of(progress);
      if (held_ > kMaxLogprobBytes) {
        return fail(400,
                    fmt::format("The log probabilities of the answer take more than {} MiB. Stream the answer, or ask "
                                "for fewer of them.",
                                kMaxLogprobBytes >> 20));
      }
    }
    choice.take(progress);
    if (options_.spec_decode_metrics == SpecDecodeMetrics::kDetailed && progress.round.drafted != 0) {
      choice.rounds.push_back(progress.round);
    }
    if (progress.outcome) {
      --unfinished_;
      if (progress.outcome == Outcome::kRefused) return fail(400, progress.error);
      if (progress.out_of_memory) return fail(503, kOutOfMemory);
      if (progress.outcome == Outcome::kFailed) return fail(500, progress.error);
    }
    if (request_.stream && !gone_) send_chunk(index, choice);
    if (unfinished_ == 0) end();
  }

  // About what the answer keeps of it.
  static std::size_t bytes_of(const Progress& progress) {
    constexpr std::size_t kAlternative = 400;
    std::size_t alternatives = 0;
    for (const TokenLogprobs& each : progress.prompt_logprobs) alternatives += 1 + each.top.size();
    for (const OutputToken& token : progress.tokens) {
      if (token.logprobs) alternatives += 1 + token.logprobs->top.size();
    }
    return alternatives * kAlternative;
  }

  ordered_json usage() const { return usage_of(0, choices_.size()); }
  // Of the choices from `first` to before `last`.
  ordered_json usage_of(std::size_t first, std::size_t last) const {
    std::size_t prompt = 0;
    std::size_t cached = 0;
    std::size_t completion = 0;
    for (std::size_t i = first; i < last; ++i) {
      if (i == first || i % request_.n == 0) {
        prompt += request_.prompts[i / request_.n].size();
        cached += choices_[i].cached_tokens;
      }
      completion += request_.prompt_only ? 0 : choices_[i].generated;
    }
    return {{"prompt_tokens", prompt},
            {"completion_tokens", completion},
            {"total_tokens", prompt + completion},
            {"prompt_tokens_details", {{"cached_tokens", cached}}}};
  }

  // As in vLLM, only of answers that consist of one sequence.
  void add_metrics(ordered_json& answer) const {
    if (options_.spec_decode_metrics == SpecDecodeMetrics::kNone || num_speculative_tokens_ == 0) return;
    if (choices_.size() != 1) return;
    answer["metrics"]["speculative_decoding"] =
        speculative_decoding_json(choices_[0].speculation, num_speculative_tokens_, choices_[0].rounds);
  }

  bool shows_reasoning() const {
    return request_.thinking_mode == ThinkingMode::kThinking && request_.include_reasoning;
  }

  // Adds what was requested about the prompt of a choice.
  void add_prompt(std::size_t index, ordered_json& object) {
    const std::size_t prompt = index / request_.n;
    if (request_.prompt_logprobs) object["prompt_logprobs"] = choices_[index].prompt_logprobs;
    if (request_.return_token_ids) object["prompt_token_ids"] = request_.prompts[prompt];
    if (request_.return_prompt_text) object["prompt_text"] = request_.prompt_texts[prompt];
  }

  void send_event(const ordered_json& event) { responder_->write("data: " + dumped_json(event) + "\n\n"); }

  void send_chunk(std::size_t index, Choice& choice) {
    if (!streaming_) {
      responder_->begin_stream("text/event-stream; charset=utf-8");
      streaming_ = true;  // if that did not throw
    }
    const bool ended = !choice.finish_reason.is_null();
    const auto send = [&](const ordered_json& body) {
      ordered_json object = {{"index", index}};
      object.update(body);
      object["finish_reason"] = choice.finish_reason;
      if (ended) object["stop_reason"] = choice.stop_reason;
      ordered_json event = envelope();
      if (!choice.begun) add_prompt(index, request_.chat ? event : object);
      event["choices"] = ordered_json::array({std::move(object)});
      if (request_.continuous_usage) event["usage"] = usage_of(index, index + 1);
      send_event(event);
    };
    if (!choice.has_output() && !ended && choice.begun) return;
    ordered_json body = ordered_json::object();
    if (request_.chat) {
      ordered_json delta = ordered_json::object();
      if (!choice.begun) delta["role"] = request_.role;
      if (!choice.delta.reasoning.empty()) add_reasoning(delta, std::exchange(choice.delta.reasoning, {}));
      if (!choice.delta.content.empty() || !choice.begun) delta["content"] = std::exchange(choice.delta.content, {});
      if (!choice.delta.tool_calls.empty()) delta["tool_calls"] = choice.tool_calls_json(true);
      body["delta"] = std::move(delta);
    } else {
      body["text"] = std::exchange(choice.text, {});
    }
    body["logprobs"] = choice.has_logprobs ? choice.logprobs_json() : ordered_json();
    choice.has_logprobs = false;
    choice.add_tokens(body);
    send(body);
    choice.begun = true;
  }

  ordered_json whole_choice(std::size_t index, Choice& choice) {
    ordered_json object = {{"index", index}};
    if (request_.chat) {
      ordered_json message = {{"role", request_.role}};
      const bool calls = !choice.delta.tool_calls.empty();
      const bool other = calls || !choice.delta.reasoning.empty();
      message["content"] = other && choice.delta.content.empty() ? ordered_json() : ordered_json(choice.delta.content);
      message["refusal"] = nullptr;
      if (shows_reasoning()) add_reasoning(message, choice.delta.reasoning);
      if (calls) message["tool_calls"] = choice.tool_calls_json(false);
      object["message"] = std::move(message);
    } else {
      const std::string prompt = request_.echo ? request_.prompt_texts[index / request_.n] : std::string();
      object["text"] = prompt + (request_.prompt_only ? std::string() : choice.text);
    }
    object["logprobs"] = choice.logprobs_json();
    choice.add_tokens(object);
    if (!request_.chat) add_prompt(index, object);
    object["finish_reason"] = choice.finish_reason;
    object["stop_reason"] = choice.stop_reason;
    return object;
  }

  void end() {
    if (gone_) return summarize(499);
    if (request_.stream) {
      if (request_.include_usage) {
        ordered_json event = envelope();
        event["choices"] = ordered_json::array();
        event["usage"] = usage();
        add_metrics(event);
        send_event(event);
      }
      responder_->write("data: [DONE]\n\n");
      responder_->end_stream();
      return summarize(200);
    }
    ordered_json answer = envelope();
    answer["choices"] = ordered_json::array();
    for (std::size_t i = 0; i < choices_.size(); ++i) answer["choices"].push_back(whole_choice(i, choices_[i]));
    answer["usage"] = usage();
    add_metrics(answer);
    if (request_.chat) add_prompt(0, answer);
    responder_->send({200, "application/json", dumped_json(answer), {}});
    summarize(200);
  }

  void fail(unsigned status, const std::string& error) {
    failed_ = true;
    cancel();
    if (streaming_) {
      responder_->write("data: " + error_json(status, error) + "\n\ndata: [DONE]\n\n");
      responder_->end_stream();
    } else {
      responder_->send(
          {status, "application/json", error_json(status, error), status == 503 ? "Retry-After: 1\r\n" : ""});
    }
    summarize(status);
  }

  void summarize(unsigned status) const noexcept {
    try {
      tell_end(status);
    } catch (const std::exception&) {
      // The call has ended well; the log lacks its line.
    }
  }

  void tell_end(unsigned status) const {
    if (!options_.on_end) return;
    const ordered_json counts = usage();
    CallSummary summary;
    summary.id = id_;
    summary.status = status;
    summary.prompt_tokens = counts["prompt_tokens"];
    summary.completion_tokens = counts["completion_tokens"];
    summary.cached_tokens = counts["prompt_tokens_details"]["cached_tokens"];
    summary.finish_reason =
        choices_[0].finish_reason.is_string() ? choices_[0].finish_reason.get<std::string>() : std::string("abort");
    summary.n = request_.n;
    summary.most_generated.resize(request_.prompts.size());
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      summary.speculation += choices_[i].speculation;
      std::size_t& most = summary.most_generated[i / request_.n];
      most = std::max(most, choices_[i].generated);
    }
    options_.on_end(summary);
  }

  Engine& engine_;
  GenerationRequest request_;
  CallOptions options_;
  std::shared_ptr<HttpResponder> responder_;
  std::string id_;
  std::int64_t created_;
  std::size_t num_speculative_tokens_ = 0;
  std::size_t unfinished_;
  std::vector<Choice> choices_;
  std::size_t held_ = 0;  // bytes, of an answer that is not streamed
  bool streaming_ = false;
  bool gone_ = false;
  bool failed_ = false;

  std::mutex mutex_;
  std::vector<Engine::RequestId> ids_;  // of the engine's requests
  bool cancelled_ = false;
};

}  // namespace

void start_generation_call(Engine& engine, const Tokenizer& tokenizer, GenerationRequest request, CallOptions options,
                           std::shared_ptr<HttpResponder> responder) {
  std::make_shared<Call>(engine, tokenizer, std::move(request), std::move(options), std::move(responder))->start();
}

}  // namespace outrider
