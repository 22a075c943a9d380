#include "outrider/server/message_stream.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "outrider/prompt/markup.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

// </think> last: it separates reasoning from content. In a chat without reasoning it is text, if it is no token.
constexpr std::string_view kMarkers[] = {markup::kUser,          markup::kAssistant,      markup::kBeginOfSentence,
                                         markup::kEndOfSentence, markup::kLatestReminder, markup::kThinkEnd};
constexpr std::size_t kTurnMarkers = std::size(kMarkers) - 1;

const std::string& tool_calls_opening() {
  static const std::string opening = std::string("\n\n").append(markup::kToolCallsStart);
  return opening;
}

}  // namespace

std::span<const std::string_view> MessageStream::turn_markers() {
  return std::span(kMarkers).first(kTurnMarkers);
}

MessageStream::MessageStream(ThinkingMode thinking_mode, bool parse_tools)
    : part_(thinking_mode == ThinkingMode::kThinking ? Part::kReasoning : Part::kContent),
      parse_tools_(parse_tools),
      markers_(turn_markers()),
      answer_markers_(thinking_mode == ThinkingMode::kThinking ? std::span(kMarkers) : turn_markers()) {}

// Takes the text before `mark`, and consumes `mark`; or the text before what may be its beginning.
std::string MessageStream::take_before(std::string_view mark, bool& found) {
  const std::size_t at = held_.find(mark);
  found = at != std::string::npos;
  std::size_t keep = 0;
  for (std::size_t n = std::min(mark.size() - 1, held_.size()); !found && n > keep; --n) {
    if (held_.ends_with(mark.substr(0, n))) keep = n;
  }
  const std::size_t end = found ? at : held_.size() - keep;
  std::string text = held_.substr(0, end);
  held_.erase(0, found ? end + mark.size() : end);
  return text;
}

MessageStream::Delta MessageStream::push(std::string_view text) {
  return split(markers_.push(text));
}

MessageStream::Delta MessageStream::split(std::string_view text) {
  Delta delta;
  bool found = false;
  if (part_ == Part::kReasoning) {
    held_ += text;
    delta.reasoning = take_before(markup::kThinkEnd, found);
    if (!found) return delta;
    part_ = Part::kContent;
    held_ = answer_markers_.push(std::exchange(held_, {}));
  } else {
    held_ += answer_markers_.push(text);
  }
  if (part_ == Part::kContent) {
    if (!parse_tools_) {
      delta.content = std::exchange(held_, {});
      return delta;
    }
    delta.content = take_before(tool_calls_opening(), found);
    if (!found) return delta;
    part_ = Part::kToolCalls;
  }
  delta.tool_calls = take_calls();
  return delta;
}

MessageStream::Delta MessageStream::finish() {
  Delta delta = split(markers_.finish());
  held_ += answer_markers_.finish();
  if (part_ == Part::kReasoning) {
    delta.reasoning += std::exchange(held_, {});
  } else if (part_ == Part::kContent) {
    delta.content += std::exchange(held_, {});
  } else {
    std::ranges::move(take_calls(), std::back_inserter(delta.tool_calls));
    if (!any_call_) delta.content += tool_calls_opening() + held_;
  }
  return delta;
}

// Takes complete calls, one after the other, so that they do not depend on how the text arrived.
std::vector<ToolCall> MessageStream::take_calls() {
  static const std::string end = std::string(markup::kInvokeEnd) + ">\n";
  std::vector<ToolCall> calls;
  for (std::size_t at = held_.find(end, tried_); at != std::string::npos; at = held_.find(end, tried_)) {
    tried_ = at + 1;  // an end within a parameter's value is none
    const std::string text = tool_calls_opening() + held_.substr(0, at + end.size()) +
                             std::string(markup::kToolCallsEnd) + std::string(markup::kEndOfSentence);
    try {
      std::vector<ToolCall> parsed = parse_completion(text, ThinkingMode::kChat).tool_calls;
      calls.insert(calls.end(), std::make_move_iterator(parsed.begin()), std::make_move_iterator(parsed.end()));
    } catch (const Error&) {
      continue;
    }
    held_.erase(0, at + markup::kInvokeEnd.size());  // what is left begins like the first call
    tried_ = 0;
    any_call_ = true;
  }
  tried_ = std::max(tried_, held_.size() - std::min(held_.size(), end.size() - 1));
  return calls;
}

}  // namespace outrider
