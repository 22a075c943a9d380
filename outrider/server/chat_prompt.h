#pragma once

#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/server/fields.h"
#include "outrider/server/request_defaults.h"

namespace outrider {

// Reads the default chat_template_kwargs of chats from a JSON object. Throws Error, prefixed with `where`.
nlohmann::ordered_json read_chat_template_kwargs(std::string_view json, const std::string& where);

// The fields of a chat that determine how its messages are encoded, resolved.
struct ChatPrompt {
  std::string text;
  std::string role = "assistant";  // of the message that is generated
  // Of that message; kChat if it continues one that has content.
  ThinkingMode thinking_mode = ThinkingMode::kChat;
  std::string last_content;  // of the last message, if it has the same role
  bool has_tools = false;    // which the model may call: the request's, or those of a message
};

// Throws ApiError.
ChatPrompt read_chat_prompt(const Fields& fields, const RequestDefaults& defaults);
std::vector<TokenId> chat_ids(const Fields& fields, const ChatPrompt& prompt, const Tokenizer& tokenizer,
                              const std::stop_token& gone = {});

}  // namespace outrider
