#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/prompt/message_encoder.h"

namespace outrider {

struct ToolCall {
  std::string name;
  std::string arguments;  // a JSON object as text
};

// An assistant's message, read from the text that the model wrote after its prompt.
struct Completion {
  std::string reasoning_content;
  std::string content;
  std::vector<ToolCall> tool_calls;
};

// Splits a completion (its end-of-sentence token included) into reasoning, content and DSML tool calls, as the
// release's parse_message_from_completion_text does; both releases have the same. Throws Error for: a missing </think>
// or end of sentence, markup that is not DSML as the prompt asks for, a parameter that stands twice, a `string` that is
// neither true nor false, text after the tool calls, special tokens within reasoning or content. A completion that
// breaks off within its tool calls yields those whose name it got to.
Completion parse_completion(std::string_view text, ThinkingMode thinking_mode);

// {"role": "assistant", "content", "reasoning_content", "tool_calls": [{"type": "function", "function": {…}}]}.
nlohmann::ordered_json to_message(const Completion& completion);

}  // namespace outrider
