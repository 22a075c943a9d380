#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "outrider/engine/request.h"
#include "outrider/server/fields.h"
#include "outrider/server/marker_filter.h"
#include "outrider/server/message_stream.h"
#include "outrider/server/request_defaults.h"

namespace outrider {

// A parsed and validated request for a completion or a chat completion.
struct GenerationRequest {
  bool chat = false;
  std::vector<std::vector<TokenId>> prompts;
  std::vector<std::string> prompt_texts;  // of chats, and of completions with `echo`
  std::size_t n = 1;                      // choices per prompt

  GenerationParams params;
  std::optional<std::uint64_t> seed;  // none: random
  TextStreamOptions text;
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;  // in each event
  bool echo = false;              // of completions
  bool prompt_only = false;       // `echo` with max_tokens 0: returns only the prompt
  bool return_tokens = false;     // an extension: returns each token's id, text, and whether it was drafted
  bool return_token_ids = false;
  bool tokens_as_ids = false;                  // in logprobs, as "token_id:N"
  std::optional<std::size_t> prompt_logprobs;  // how many most likely tokens to return for each token of the prompt
  std::string id;                              // of the response, after the prefix; empty: random
  bool reuse_prefixes = true;

  // Of chats only.
  ThinkingMode thinking_mode = ThinkingMode::kChat;
  bool parse_tools = false;
  bool calls_named_tool = false;  // tool_choice names a function
  bool parallel_tool_calls = true;
  bool include_reasoning = true;
  bool return_prompt_text = false;
  bool hides_reasoning() const { return thinking_mode == ThinkingMode::kThinking && !include_reasoning; }
  std::string role;                                    // of the message that is generated
  std::string echoed_text;                             // its beginning, if `echo` is set, without markers
  MarkerFilter joined{MessageStream::turn_markers()};  // of that text with the content that follows it
};

// Throws ApiError. Once stop is requested of `gone`, the work on the prompt ends early, and the result is of no use.
GenerationRequest read_completion_request(const Fields& fields, const Tokenizer& tokenizer,
                                          const RequestDefaults& defaults, const std::stop_token& gone = {});
GenerationRequest read_chat_request(const nlohmann::ordered_json& body, const Tokenizer& tokenizer,
                                    const RequestDefaults& defaults, const std::stop_token& gone = {});

}  // namespace outrider
