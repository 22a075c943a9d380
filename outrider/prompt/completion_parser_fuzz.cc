#include <string>
#include <string_view>

#include "outrider/prompt/completion_parser.h"
#include "outrider/prompt/markup.h"
#include "outrider/prompt/message_encoder.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/tokenizer/utf8.h"

using outrider::testing::require;

namespace {

// The completion that a message is encoded as.
std::string completion_of(const outrider::Completion& message, outrider::ThinkingMode mode) {
  outrider::MessageEncoding encoding;
  encoding.thinking_mode = mode;
  encoding.drop_thinking = false;
  encoding.context = {{{"role", "user"}, {"content", "?"}}};
  return outrider::encode_messages(nlohmann::ordered_json::array({to_message(message)}), encoding);
}

}  // namespace

// Any completion either fails with an Error or is split into a message that is encoded as a completion of the same
// message.
FUZZ_TARGET(completion_parser) {
  const bool thinking = input.starts_with('t');
  const auto mode = thinking ? outrider::ThinkingMode::kThinking : outrider::ThinkingMode::kChat;
  std::string text;  // what a tokenizer decodes to is well-formed
  outrider::append_utf8_lossy(text, input.substr(thinking ? 1 : 0));
  const outrider::Completion message = outrider::parse_completion(text, mode);
  // Escapes in arguments may be spelled otherwise, or spell markup.
  if (text.find('\\') != std::string::npos) return;
  // Arguments that are no JSON become the parameter "arguments", and a repeated key keeps its last value: the second
  // time nothing changes.
  const std::string once = completion_of(message, mode);
  const outrider::Completion read = outrider::parse_completion(once, mode);
  require(read.content == message.content && read.reasoning_content == message.reasoning_content);
  require(read.tool_calls.size() == message.tool_calls.size());
  require(completion_of(read, mode) == once);
}
