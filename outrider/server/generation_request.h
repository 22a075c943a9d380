#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "outrider/engine/request.h"
#include "outrider/prompt/message_encoder.h"
#include "outrider/server/fields.h"
#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

// What a server takes for granted where a request says nothing.
struct RequestDefaults {
  SamplingParams sampling;  // of generation_config.json
  std::uint64_t max_model_len = 0;
  std::vector<TokenId> end_tokens;  // that end a text, unless ignore_eos is asked for
  EncodingRelease encoding = EncodingRelease::kPreview;
  nlohmann::ordered_json chat_template_kwargs = nlohmann::ordered_json::object();  // of chats; a request's come first
};

// The defaults of a directory's generation_config.json: temperature, top_p, top_k, min_p, repetition_penalty; OpenAI's
// where there is none, or `directory` is empty. Throws Error where it is no JSON object, or a value of it is out of
// range.
SamplingParams default_sampling(const std::string& directory);
// Puts the values of a JSON object with such fields into `sampling`. Throws Error, which begins with `where`, for other
// fields, and values out of range.
void override_sampling(std::string_view json, const std::string& where, SamplingParams& sampling);
// What requests may have as chat_template_kwargs, of a JSON object. Throws Error, which begins with `where`.
nlohmann::ordered_json read_chat_template_kwargs(std::string_view json, const std::string& where);

// A request for completions or for a chat's answer, understood and checked.
struct GenerationRequest {
  bool chat = false;
  std::vector<std::vector<TokenId>> prompts;
  std::vector<std::string> prompt_texts;  // for `echo`
  std::size_t n = 1;                      // answers to each prompt

  GenerationParams params;
  std::optional<std::uint64_t> seed;  // none: one is drawn
  TextStreamOptions text;
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  bool prompt_only = false;    // `echo` with max_tokens 0: nothing but the prompt is told
  bool return_tokens = false;  // an extension: each token's id, text, and whether it was drafted

  // Of chats.
  ThinkingMode thinking_mode = ThinkingMode::kChat;
  bool parse_tools = false;
};

// Throws ApiError.
GenerationRequest read_completion_request(const Fields& fields, const Tokenizer& tokenizer,
                                          const RequestDefaults& defaults);
GenerationRequest read_chat_request(const nlohmann::ordered_json& body, const Tokenizer& tokenizer,
                                    const RequestDefaults& defaults);

// What the fields of a chat say of how its messages become a prompt.
struct ChatPrompt {
  std::vector<TokenId> ids;
  ThinkingMode thinking_mode = ThinkingMode::kChat;
};
ChatPrompt chat_prompt(const nlohmann::ordered_json& body, const Tokenizer& tokenizer, EncodingRelease release,
                       nlohmann::ordered_json default_kwargs = nlohmann::ordered_json::object());

}  // namespace outrider
