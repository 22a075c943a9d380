#include <algorithm>
#include <string>
#include <string_view>

#include "outrider/prompt/markup.h"
#include "outrider/server/message_stream.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/util/error.h"

using outrider::testing::require;

namespace {

struct Message {
  std::string reasoning;
  std::string content;
  std::string calls;

  void add(const outrider::MessageStream::Delta& delta) {
    reasoning += delta.reasoning;
    content += delta.content;
    for (const outrider::ToolCall& call : delta.tool_calls) calls += call.name + '\1' + call.arguments + '\2';
  }
  friend bool operator==(const Message&, const Message&) = default;
};

// The message of a text that arrives in pieces, whose lengths `lengths` determines; at once if it is empty.
Message streamed(std::string_view text, std::string_view lengths, outrider::ThinkingMode mode, bool tools) {
  outrider::MessageStream stream(mode, tools);
  Message message;
  for (std::size_t i = 0; !text.empty(); ++i) {
    const std::size_t length = lengths.empty() ? text.size() : 1 + lengths[i % lengths.size()] % 16U;
    message.add(stream.push(text.substr(0, length)));
    text.remove_prefix(std::min(length, text.size()));
  }
  message.add(stream.finish());
  return message;
}

// Whether there may be something that is removed from what is streamed: a marker of prompts, begun or nested, or a
// second </think>.
bool has_marker(std::string_view text) {
  for (std::size_t at = text.find("<｜"); at != std::string_view::npos; at = text.find("<｜", at + 1)) {
    if (!text.substr(at + 1).starts_with(outrider::markup::kDsml)) return true;
  }
  return text.find(outrider::markup::kThinkEnd) != text.rfind(outrider::markup::kThinkEnd);
}

}  // namespace

// Any output is split into the same message however it arrives: at once, in pieces, byte by byte. It is the message
// that the parser of whole completions finds, if that accepts it.
FUZZ_TARGET(message_stream) {
  const auto [text, lengths] = outrider::testing::split_at_zero(input);
  const bool thinking = text.size() % 2 == 1;
  const auto mode = thinking ? outrider::ThinkingMode::kThinking : outrider::ThinkingMode::kChat;
  for (const bool tools : {false, true}) {
    const Message whole = streamed(text, {}, mode, tools);
    require(streamed(text, lengths, mode, tools) == whole && streamed(text, {"\0", 1}, mode, tools) == whole);
    if (!tools) continue;
    if (has_marker(text)) return;
    // A call that the end of the text cuts off is parsed, but not streamed.
    if (text.find(outrider::markup::kToolCallsStart) != std::string_view::npos &&
        !text.ends_with(outrider::markup::kToolCallsEnd)) {
      return;
    }
    const auto parsed = outrider::parse_completion(std::string(text).append(outrider::markup::kEndOfSentence), mode);
    Message expected;
    expected.add({parsed.reasoning_content, parsed.content, parsed.tool_calls});
    require(expected == whole);
  }
}
