#include "outrider/server/generation_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <random>
#include <utility>

#include "outrider/server/api_error.h"
#include "outrider/server/logprobs_json.h"
#include "outrider/server/message_stream.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

std::string dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string new_id(const char* prefix) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{}-{:016x}{:016x}", prefix, random(), random());
}

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

ordered_json speculation_json(const SpeculationCounts& counts) {
  return {{"num_drafts", counts.drafts},
          {"num_draft_tokens", counts.draft_tokens},
          {"num_accepted_tokens", counts.accepted_tokens},
          {"num_accepted_tokens_per_pos", counts.accepted_per_position}};
}

struct Choice {
  Choice(const GenerationRequest& request, const Tokenizer& tokenizer)
      : message(request.thinking_mode, request.parse_tools), completion_logprobs(tokenizer, 0) {}

  // Output since the last event; of a response without streaming, all of it.
  std::string text;
  MessageStream message;
  MessageStream::Delta delta;
  CompletionLogprobs completion_logprobs;
  ordered_json chat_logprobs = ordered_json::array();
  ordered_json tokens = ordered_json::array();
  bool has_logprobs = false;

  std::size_t calls = 0;  // tool calls so far
  std::size_t generated = 0;
  bool begun = false;
  SpeculationCounts speculation;  // so far
  // Set at the end.
  ordered_json finish_reason;
  ordered_json stop_reason;
  std::size_t cached_tokens = 0;
};

// Runs on the connection's thread, except where it says otherwise. A part of the output that is lost for want of memory
// ends the call.
class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(Engine& engine, const Tokenizer& tokenizer, GenerationRequest request, CallOptions options,
       std::shared_ptr<HttpResponder> responder)
      : engine_(engine),
        tokenizer_(tokenizer),
        request_(std::move(request)),
        options_(std::move(options)),
        responder_(std::move(responder)),
        id_(new_id(request_.chat ? "chatcmpl" : "cmpl")),
        created_(unix_seconds()),
        unfinished_(request_.prompts.size() * request_.n) {
    for (std::size_t i = 0; i < unfinished_; ++i) choices_.emplace_back(request_, tokenizer);
  }

  void start() {
    std::vector<Engine::Submission> submissions;
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      Request request;
      request.prompt = request_.prompts[i / request_.n];
      request.params = request_.params;
      request.params.seed = request_.seed.value_or(options_.seed) + i % request_.n;
      request.params.reproducible = request_.seed.has_value();
      request.text = request_.text;
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
      responder_->post([self = shared_from_this(), index, shared] { self->advance(index, std::move(*shared)); });
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

  void advance(std::size_t index, Progress progress) noexcept {
    try {
      on_progress(index, std::move(progress));
    } catch (const std::exception&) {
      run_out_of_memory();
    }
  }

  void run_out_of_memory() noexcept {
    if (failed_) return;
    try {
      fail(503, kOutOfMemory);
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

  void on_progress(std::size_t index, Progress progress) {
    Choice& choice = choices_[index];
    if (failed_) return;
    if (!gone_) take(index, choice, progress);
    choice.generated += progress.tokens.size();
    choice.speculation = std::move(progress.speculation);
    if (progress.outcome) {
      choice.cached_tokens = progress.cached_tokens;
      end_choice(choice, progress);
      --unfinished_;
      if (progress.outcome == Outcome::kRefused) return fail(400, progress.error);
      if (progress.out_of_memory) return fail(503, kOutOfMemory);
      if (progress.outcome == Outcome::kFailed) return fail(500, progress.error);
    }
    if (request_.stream && !gone_) send_chunk(index, choice);
    if (unfinished_ == 0) end();
  }

  // Appends one step's progress to the output that will be sent.
  void take(std::size_t index, Choice& choice, const Progress& progress) {
    const bool first = choice.generated == 0 && !progress.tokens.empty();
    if (first && request_.params.prompt_logprobs) {
      const std::vector<TokenId>& prompt = request_.prompts[index / request_.n];
      for (std::size_t i = 0; i < prompt.size(); ++i) {
        choice.completion_logprobs.add(prompt[i], i == 0 ? nullptr : &progress.prompt_logprobs[i - 1]);
      }
    }
    for (const OutputToken& token : progress.tokens) {
      if (request_.return_tokens) {
        choice.tokens.push_back(
            {{"id", token.id}, {"text", token_text(tokenizer_, token.id)}, {"drafted", token.drafted}});
      }
      if (!token.logprobs || request_.prompt_only) continue;
      choice.has_logprobs = true;
      if (request_.chat) {
        choice.chat_logprobs.push_back(chat_logprob(tokenizer_, token));
      } else {
        choice.completion_logprobs.add(token.id, &*token.logprobs);
      }
    }
    if (!request_.chat) {
      choice.text += progress.text;
      return;
    }
    add(choice, choice.message.push(progress.text));
    if (progress.outcome) add(choice, choice.message.finish());
  }

  static void add(Choice& choice, MessageStream::Delta delta) {
    choice.delta.reasoning += delta.reasoning;
    choice.delta.content += delta.content;
    choice.calls += delta.tool_calls.size();
    std::ranges::move(delta.tool_calls, std::back_inserter(choice.delta.tool_calls));
  }

  static void end_choice(Choice& choice, const Progress& progress) {
    switch (*progress.outcome) {
      case Outcome::kStop:
        choice.finish_reason = choice.calls != 0 ? "tool_calls" : "stop";
        break;
      case Outcome::kLength:
        choice.finish_reason = "length";
        break;
      case Outcome::kCancelled:
      case Outcome::kRefused:
      case Outcome::kFailed:
        choice.finish_reason = "abort";
        break;
    }
    if (progress.stop_string) choice.stop_reason = *progress.stop_string;
  }

  ordered_json tool_calls_json(const Choice& choice, bool with_index) const {
    ordered_json list = ordered_json::array();
    std::size_t index = choice.calls - choice.delta.tool_calls.size();
    for (const ToolCall& call : choice.delta.tool_calls) {
      ordered_json object = ordered_json::object();
      if (with_index) object["index"] = index++;
      object["id"] = new_id("call");
      object["type"] = "function";
      object["function"] = {{"name", call.name}, {"arguments", call.arguments}};
      list.push_back(std::move(object));
    }
    return list;
  }

  ordered_json logprobs_json(Choice& choice) const {
    if (!request_.params.logprobs) return nullptr;
    if (request_.chat) return {{"content", std::exchange(choice.chat_logprobs, ordered_json::array())}};
    return choice.completion_logprobs.take();
  }

  void add_tokens(Choice& choice, ordered_json& object) const {
    if (!request_.return_tokens) return;
    object["tokens"] = std::exchange(choice.tokens, ordered_json::array());
    object["speculation"] = speculation_json(choice.speculation);
  }

  ordered_json usage() const {
    std::size_t prompt = 0;
    std::size_t cached = 0;
    std::size_t completion = 0;
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      if (i % request_.n == 0) {
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

  void send_event(const ordered_json& event) { responder_->write("data: " + dump(event) + "\n\n"); }

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
      event["choices"] = ordered_json::array({std::move(object)});
      send_event(event);
    };
    const bool told = !choice.text.empty() || !choice.delta.content.empty() || !choice.delta.reasoning.empty() ||
                      !choice.delta.tool_calls.empty() || choice.has_logprobs || !choice.tokens.empty();
    if (!told && !ended && choice.begun) return;
    ordered_json body = ordered_json::object();
    if (request_.chat) {
      ordered_json delta = ordered_json::object();
      if (!choice.begun) delta["role"] = "assistant";
      if (!choice.delta.reasoning.empty()) delta["reasoning_content"] = std::exchange(choice.delta.reasoning, {});
      if (!choice.delta.content.empty() || !choice.begun) delta["content"] = std::exchange(choice.delta.content, {});
      if (!choice.delta.tool_calls.empty()) delta["tool_calls"] = tool_calls_json(choice, true);
      choice.delta.tool_calls.clear();
      body["delta"] = std::move(delta);
    } else {
      body["text"] = std::exchange(choice.text, {});
    }
    body["logprobs"] = choice.has_logprobs ? logprobs_json(choice) : ordered_json();
    choice.has_logprobs = false;
    add_tokens(choice, body);
    choice.begun = true;
    send(body);
  }

  ordered_json whole_choice(std::size_t index, Choice& choice) {
    ordered_json object = {{"index", index}};
    if (request_.chat) {
      ordered_json message = {{"role", "assistant"}};
      const bool calls = !choice.delta.tool_calls.empty();
      const bool other = calls || !choice.delta.reasoning.empty();
      message["content"] = other && choice.delta.content.empty() ? ordered_json() : ordered_json(choice.delta.content);
      message["refusal"] = nullptr;
      if (request_.thinking_mode == ThinkingMode::kThinking) message["reasoning_content"] = choice.delta.reasoning;
      if (calls) message["tool_calls"] = tool_calls_json(choice, false);
      object["message"] = std::move(message);
    } else {
      const std::string prompt = request_.echo ? request_.prompt_texts[index / request_.n] : std::string();
      object["text"] = prompt + (request_.prompt_only ? std::string() : choice.text);
    }
    object["logprobs"] = logprobs_json(choice);
    add_tokens(choice, object);
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
    responder_->send({200, "application/json", dump(answer), {}});
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
    for (const Choice& choice : choices_) summary.speculation += choice.speculation;
    options_.on_end(summary);
  }

  Engine& engine_;
  const Tokenizer& tokenizer_;
  GenerationRequest request_;
  CallOptions options_;
  std::shared_ptr<HttpResponder> responder_;
  std::string id_;
  std::int64_t created_;
  std::size_t unfinished_;
  std::vector<Choice> choices_;
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
