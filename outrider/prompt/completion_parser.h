#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/prompt/message_encoder.h"

namespace outrider {

struct ToolCall {
  std::string name;
  std::string arguments;  // a serialized JSON object
};

// An assistant's message, parsed from a model's output.
struct Completion {
  std::string reasoning_content;
  std::string content;
  std::vector<ToolCall> tool_calls;
};

// Splits a completion (its end-of-sentence token included) into reasoning, content and DSML tool calls, like the
// release's parse_message_from_completion_text, which is the same in both releases. Throws Error for: a missing
// </think> or end of sentence, markup that is not the DSML that the prompt describes, a repeated parameter, a `string`
// that is neither true nor false, text after the tool calls, special tokens in reasoning or content. A completion that
// ends within its tool calls yields those whose name is complete.
Completion parse_completion(std::string_view text, ThinkingMode thinking_mode);

// {"role": "assistant", "content", "reasoning_content", "tool_calls": [{"type": "function", "function": {…}}]}.
nlohmann::ordered_json to_message(const Completion& completion);

}  // namespace outrider
