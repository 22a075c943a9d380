#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/prompt/completion_parser.h"
#include "outrider/server/marker_filter.h"

namespace outrider {

// Splits an assistant's message into reasoning, content and tool calls while it is generated. Text that may be the
// beginning of </think> or of tool calls is held back; a tool call is returned once it is complete. Malformed tool
// calls are returned as content. No part has the markers of DeepSeek's prompts.
class MessageStream {
 public:
  // Without `parse_tools`, everything after the reasoning is content.
  MessageStream(ThinkingMode thinking_mode, bool parse_tools);

  struct Delta {
    std::string reasoning;
    std::string content;
    std::vector<ToolCall> tool_calls;
  };
  Delta push(std::string_view text);
  // Ends the message and returns what was held back.
  Delta finish();

  // The markers that no part of a message has.
  static std::span<const std::string_view> turn_markers();

 private:
  enum class Part { kReasoning, kContent, kToolCalls };

  std::string take_before(std::string_view mark, bool& found);
  Delta split(std::string_view text);
  std::vector<ToolCall> take_calls();

  Part part_;
  bool parse_tools_;
  MarkerFilter markers_;         // of the whole output: </think> separates its parts
  MarkerFilter answer_markers_;  // of what follows the reasoning
  std::string held_;
  std::size_t tried_ = 0;  // no call of what is held ends before
  bool any_call_ = false;
};

}  // namespace outrider
