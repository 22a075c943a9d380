#include "outrider/server/choice.h"

#include <fmt/format.h>

#include <random>
#include <utility>

#include "outrider/server/speculation_json.h"

namespace outrider {

using nlohmann::ordered_json;

std::string new_id(const char* prefix) {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{}-{:016x}{:016x}", prefix, random(), random());
}

Choice::Choice(const GenerationRequest& request, const Tokenizer& tokenizer, std::span<const TokenId> prompt)
    : request_(request),
      tokenizer_(tokenizer),
      prompt_(prompt),
      spelling_(request.tokens_as_ids ? TokenSpelling::kId : TokenSpelling::kText),
      message_(request.thinking_mode, request.parse_tools),
      joined_(request.joined),
      completion_logprobs_(tokenizer, 0, spelling_) {
  delta.content = request.echoed_text;
}

void Choice::take(const Progress& progress) {
  if (generated == 0 && !progress.tokens.empty()) take_prompt_logprobs(progress.prompt_logprobs);
  take_tokens(progress.tokens);
  generated += progress.tokens.size();
  speculation = progress.speculation;
  if (request_.chat) {
    add(message_.push(progress.text));
    if (progress.outcome) {
      add(message_.finish());
      delta.content += joined_.finish();
    }
  } else {
    text += progress.text;
  }
  if (progress.outcome) end(progress);
}

void Choice::take_prompt_logprobs(std::span<const TokenLogprobs> logprobs) {
  if (request_.prompt_logprobs) {
    prompt_logprobs = prompt_logprobs_json(tokenizer_, prompt_, logprobs, *request_.prompt_logprobs);
  }
  if (!request_.echo || !request_.params.logprobs) return;
  for (std::size_t i = 0; i < prompt_.size(); ++i) {
    completion_logprobs_.add(prompt_[i], i == 0 ? nullptr : &logprobs[i - 1], *request_.params.logprobs);
  }
}

void Choice::take_tokens(std::span<const OutputToken> tokens) {
  if (request_.hides_reasoning()) return;  // which the tokens would tell
  for (const OutputToken& token : tokens) {
    if (request_.return_tokens) {
      tokens_.push_back({{"id", token.id}, {"text", token_text(tokenizer_, token.id)}, {"drafted", token.drafted}});
    }
    if (request_.return_token_ids) token_ids_.push_back(token.id);
    if (!token.logprobs || request_.prompt_only) continue;
    has_logprobs = true;
    if (request_.chat) {
      chat_logprobs_.push_back(chat_logprob(tokenizer_, token, spelling_, !request_.params.logprob_token_ids.empty()));
    } else {
      completion_logprobs_.add(token.id, &*token.logprobs);
    }
  }
}

void Choice::add(MessageStream::Delta more) {
  if (request_.include_reasoning) delta.reasoning += more.reasoning;
  delta.content += joined_.push(more.content);
  for (ToolCall& call : more.tool_calls) {
    if (calls_ != 0 && !request_.parallel_tool_calls) break;
    ++calls_;
    delta.tool_calls.push_back(std::move(call));
  }
}

void Choice::end(const Progress& progress) {
  cached_tokens = progress.cached_tokens;
  switch (*progress.outcome) {
    case Outcome::kStop:
      // OpenAI's rule: "stop" for the call of a function that the request names.
      finish_reason = calls_ != 0 && !request_.calls_named_tool ? "tool_calls" : "stop";
      break;
    case Outcome::kLength:
      finish_reason = "length";
      break;
    case Outcome::kCancelled:
    case Outcome::kRefused:
    case Outcome::kFailed:
      finish_reason = "abort";
      break;
  }
  if (progress.stop_string) {
    stop_reason = *progress.stop_string;
  } else if (*progress.outcome == Outcome::kStop && !progress.tokens.empty()) {
    const TokenId last = progress.tokens.back().id;
    if (last != tokenizer_.eos_id()) stop_reason = last;
  }
}

bool Choice::has_output() const {
  return !text.empty() || !delta.content.empty() || !delta.reasoning.empty() || !delta.tool_calls.empty() ||
         has_logprobs || !tokens_.empty() || !token_ids_.empty();
}

ordered_json Choice::tool_calls_json(bool with_index) {
  ordered_json list = ordered_json::array();
  std::size_t index = calls_ - delta.tool_calls.size();
  for (const ToolCall& call : std::exchange(delta.tool_calls, {})) {
    ordered_json object = ordered_json::object();
    if (with_index) object["index"] = index++;
    object["id"] = new_id("call");
    object["type"] = "function";
    object["function"] = {{"name", call.name}, {"arguments", call.arguments}};
    list.push_back(std::move(object));
  }
  return list;
}

ordered_json Choice::logprobs_json() {
  if (!request_.params.logprobs) return nullptr;
  if (request_.chat) return {{"content", std::exchange(chat_logprobs_, ordered_json::array())}};
  return completion_logprobs_.take();
}

void Choice::add_tokens(ordered_json& object) {
  if (request_.hides_reasoning()) return;
  if (request_.return_token_ids) object["token_ids"] = std::exchange(token_ids_, ordered_json::array());
  if (!request_.return_tokens) return;
  object["tokens"] = std::exchange(tokens_, ordered_json::array());
  object["speculation"] = speculation_json(speculation);
}

}  // namespace outrider
