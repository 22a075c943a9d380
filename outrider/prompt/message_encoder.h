#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace outrider {

// The two releases of DeepSeek-V4's prompt encoding. They differ only in the levels of reasoning effort.
enum class EncodingRelease {
  kPreview,  // V4-Flash and V4-Pro: "high" (or none) adds nothing, "max" adds "Absolute maximum …"
  k0731,     // V4-Flash-0731: "low" (or none) adds nothing, "high" "Absolute maximum …", "max" "Beyond maximum …"
};

enum class ThinkingMode {
  kChat,      // the answer follows </think> immediately
  kThinking,  // reasoning between <think> and </think> comes first
};

struct MessageEncoding {
  EncodingRelease release = EncodingRelease::kPreview;
  ThinkingMode thinking_mode = ThinkingMode::kChat;
  std::optional<std::string> reasoning_effort;
  // Drop the reasoning before the last message of a user or developer, unless a message has tools.
  bool drop_thinking = true;
  bool add_default_bos_token = true;
  // Let the assistant's turn follow the last message, unless that is the assistant's.
  bool add_generation_prompt = true;
  // Leave the last message open, so that its content is continued, or its reasoning if it has no content. It must be
  // the assistant's.
  bool continue_final_message = false;
  // Messages that were encoded before; `messages` continues them, and only the continuation is returned.
  nlohmann::ordered_json context = nlohmann::ordered_json::array();
};

// Encodes chat messages in the format of the OpenAI API as a prompt, like the release's encode_messages, which has
// neither add_generation_prompt nor continue_final_message. Roles: system, developer, user, assistant, tool,
// latest_reminder. Besides `role` and `content` (a string, null, or an array of parts whose texts are joined by blank
// lines), messages may have `reasoning_content`, `tool_calls`, `tool_call_id`, `tools`, `response_format`, `task` and
// `wo_eos`. Parse messages with parse_python_json, so that tool schemas are written as Python would.
//
// Throws Error for an unknown role, task or reasoning effort, an empty developer message, and fields of wrong types.
std::string encode_messages(const nlohmann::ordered_json& messages, const MessageEncoding& encoding);

}  // namespace outrider
