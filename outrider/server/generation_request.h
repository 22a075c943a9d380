#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "outrider/engine/request.h"
#include "outrider/prompt/message_encoder.h"
#include "outrider/server/fields.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// The server's defaults for fields that a request does not set.
struct RequestDefaults {
  SamplingParams sampling;  // from generation_config.json
  std::uint64_t max_model_len = 0;
  std::vector<TokenId> end_tokens;  // that end the output, unless ignore_eos is set
  EncodingRelease encoding = EncodingRelease::kPreview;
  nlohmann::ordered_json chat_template_kwargs =
      nlohmann::ordered_json::object();  // of chats; a request's own take precedence
};

// Reads the defaults from the directory's generation_config.json (temperature, top_p, top_k, min_p,
// repetition_penalty); OpenAI's if there is none or `directory` is empty. Throws Error if it is not a JSON object or a
// value is out of range.
SamplingParams default_sampling(const std::string& directory);
// Overrides `sampling` with the values of a JSON object with those fields. Throws Error, prefixed with `where`, for
// other fields and values out of range.
void override_sampling(std::string_view json, const std::string& where, SamplingParams& sampling);
// Reads the default chat_template_kwargs of chats from a JSON object. Throws Error, prefixed with `where`.
nlohmann::ordered_json read_chat_template_kwargs(std::string_view json, const std::string& where);

// A parsed and validated request for a completion or a chat completion.
struct GenerationRequest {
  bool chat = false;
  std::vector<std::vector<TokenId>> prompts;
  std::vector<std::string> prompt_texts;  // for `echo`
  std::size_t n = 1;                      // choices per prompt

  GenerationParams params;
  std::optional<std::uint64_t> seed;  // none: random
  TextStreamOptions text;
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  bool prompt_only = false;    // `echo` with max_tokens 0: returns only the prompt
  bool return_tokens = false;  // an extension: returns each token's id, text, and whether it was drafted

  // Of chats only.
  ThinkingMode thinking_mode = ThinkingMode::kChat;
  bool parse_tools = false;
};

// Throws ApiError. Once stop is requested of `gone`, the work on the prompt ends early, and the result is of no use.
GenerationRequest read_completion_request(const Fields& fields, const Tokenizer& tokenizer,
                                          const RequestDefaults& defaults, const std::stop_token& gone = {});
GenerationRequest read_chat_request(const nlohmann::ordered_json& body, const Tokenizer& tokenizer,
                                    const RequestDefaults& defaults, const std::stop_token& gone = {});

// The fields of a chat that determine how its messages are encoded, resolved.
struct ChatPrompt {
  std::vector<TokenId> ids;
  ThinkingMode thinking_mode = ThinkingMode::kChat;
};
ChatPrompt chat_prompt(const nlohmann::ordered_json& body, const Tokenizer& tokenizer, const RequestDefaults& defaults,
                       const std::stop_token& gone = {});

}  // namespace outrider
