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

MessageStream::MessageStream(ThinkingMode thinking_mode, bool parse_tools)
    : part_(thinking_mode == ThinkingMode::kThinking ? Part::kReasoning : Part::kContent),
      parse_tools_(parse_tools),
      markers_(std::span(kMarkers).first(kTurnMarkers)),
      answer_markers_(
          std::span(kMarkers).first(thinking_mode == ThinkingMode::kThinking ? std::size(kMarkers) : kTurnMarkers)) {}

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
  delta.tool_calls = complete_calls();
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
    std::ranges::move(complete_calls(), std::back_inserter(delta.tool_calls));
    if (calls_returned_ == 0) delta.content += tool_calls_opening() + held_;
  }
  return delta;
}

// Returns the calls that were not returned before.
std::vector<ToolCall> MessageStream::complete_calls() {
  std::string end(markup::kInvokeEnd);
  end += ">\n";
  const std::size_t last = held_.rfind(end);
  if (last == std::string::npos || last == last_end_) return {};
  last_end_ = last;
  const std::string text = tool_calls_opening() + held_.substr(0, last + end.size()) +
                           std::string(markup::kToolCallsEnd) + std::string(markup::kEndOfSentence);
  std::vector<ToolCall> calls;
  try {
    calls = parse_completion(text, ThinkingMode::kChat).tool_calls;
  } catch (const Error&) {
    return {};
  }
  calls.erase(calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(std::min(calls_returned_, calls.size())));
  calls_returned_ += calls.size();
  return calls;
}

}  // namespace outrider
