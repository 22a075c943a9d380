#pragma once

#include <string_view>

namespace outrider::markup {

// The special tokens of DeepSeek-V4's prompts (encoding README of the release, "Special Tokens").
inline constexpr std::string_view kBeginOfSentence = "<｜begin▁of▁sentence｜>";
inline constexpr std::string_view kEndOfSentence = "<｜end▁of▁sentence｜>";
inline constexpr std::string_view kUser = "<｜User｜>";
inline constexpr std::string_view kAssistant = "<｜Assistant｜>";
inline constexpr std::string_view kLatestReminder = "<｜latest_reminder｜>";
inline constexpr std::string_view kThinkStart = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";
inline constexpr std::string_view kDsml = "｜DSML｜";

// Whether a token, decoded, separates or tags the messages of a prompt rather than being text of one: the tokens above,
// those of tasks, and their kind. Tokenizers do not declare all of them special.
constexpr bool is_marker(std::string_view token) {
  return (token.starts_with("<｜") && token.ends_with("｜>")) || token == kThinkStart || token == kThinkEnd;
}

// DSML, the markup of tool calls.
inline constexpr std::string_view kToolCallsStart = "<｜DSML｜tool_calls";
inline constexpr std::string_view kToolCallsEnd = "</｜DSML｜tool_calls>";
inline constexpr std::string_view kInvokeStart = "<｜DSML｜invoke";
inline constexpr std::string_view kInvokeEnd = "</｜DSML｜invoke";
inline constexpr std::string_view kParameterStart = "<｜DSML｜parameter";
inline constexpr std::string_view kParameterEnd = "/｜DSML｜parameter";  // after the < that ends the value

}  // namespace outrider::markup
