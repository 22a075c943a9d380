#include <string>
#include <string_view>

#include "outrider/prompt/message_encoder.h"
#include "outrider/prompt/python_json.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/util/error.h"

using nlohmann::ordered_json;
using outrider::testing::require;

// Any messages either fail with an Error or are encoded as a prompt. One that is continued after an answer is encoded
// like the whole, as long as no reasoning is dropped.
FUZZ_TARGET(message_encoder) {
  const std::size_t options = input.empty() ? 0 : static_cast<unsigned char>(input.front());
  const ordered_json messages = outrider::parse_python_json(input.substr(input.empty() ? 0 : 1), "fuzz");
  outrider::MessageEncoding encoding;
  encoding.release = (options & 1) != 0 ? outrider::EncodingRelease::k0731 : outrider::EncodingRelease::kPreview;
  encoding.thinking_mode = (options & 2) != 0 ? outrider::ThinkingMode::kThinking : outrider::ThinkingMode::kChat;
  encoding.drop_thinking = (options & 4) != 0;
  if ((options & 8) != 0) encoding.reasoning_effort = "high";
  if ((options & 16) != 0) encoding.reasoning_effort = "max";
  const std::string whole = outrider::encode_messages(messages, encoding);
  if (encoding.drop_thinking) return;
  for (std::size_t i = 1; i < messages.size(); ++i) {
    // A user's messages in a row are one turn.
    if (messages[i - 1]["role"] != "assistant" || messages[i]["role"] == "assistant") continue;
    outrider::MessageEncoding continued = encoding;
    continued.context = ordered_json(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(i));
    const ordered_json rest(messages.begin() + static_cast<std::ptrdiff_t>(i), messages.end());
    require(outrider::encode_messages(continued.context, encoding) + outrider::encode_messages(rest, continued) ==
            whole);
  }
}
