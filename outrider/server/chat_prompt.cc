#include "outrider/server/chat_prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "outrider/server/request_fields.h"
#include "outrider/util/bounded_json.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

std::optional<std::string> reasoning_effort(const std::string& asked, EncodingRelease release) {
  // OpenAI's levels, mapped as DeepSeek's own API does.
  if (asked == "max" || asked == "xhigh") return "max";
  if (asked == "high") return "high";
  if (asked == "minimal" || asked == "low" || asked == "medium") {
    return release == EncodingRelease::kPreview ? "high" : asked == "medium" ? "high" : "low";
  }
  throw ApiError(400,
                 "reasoning_effort must be \"none\", \"minimal\", \"low\", \"medium\", \"high\", \"xhigh\" or \"max\".",
                 "reasoning_effort");
}

void check_tools(const Fields& fields, const ordered_json& tools) {
  if (!tools.is_array()) fields.wrong_type("tools", "a list of functions");
  for (const ordered_json& tool : tools) {
    const bool function = tool.is_object() && tool.contains("function") && tool["function"].is_object() &&
                          tool["function"].contains("name") && tool["function"]["name"].is_string() &&
                          (!tool.contains("type") || tool["type"] == "function");
    if (!function) {
      fields.wrong_type("tools", R"(a list of {"type": "function", "function": {"name": …}})");
    }
  }
}

// Refuses everything but text: the model reads nothing else.
void check_content(const Fields& message, const ordered_json& content) {
  if (content.is_string()) return;
  if (!content.is_array()) message.wrong_type("content", "a string or a list of parts");
  for (const ordered_json& part : content) {
    const std::string type = part.is_object() && part.contains("type") && part["type"].is_string()
                                 ? part["type"].get<std::string>()
                                 : std::string();
    if (type.empty()) message.wrong_type("content", R"(a string or a list of parts with a "type")");
    if (type != "text") {
      message.refuse("content",
                     fmt::format("has a part of type \"{}\", but the model reads text only: send parts of type "
                                 "\"text\".",
                                 printable(type)));
    }
    if (!part.contains("text") || !part["text"].is_string()) {
      message.wrong_type("content", R"(a string or a list of {"type": "text", "text": …})");
    }
  }
}

// Checks the messages, and gives their fields the names that the encoding knows.
ordered_json read_messages(const Fields& fields) {
  const ordered_json* given = fields.find("messages");
  if (given == nullptr || !given->is_array()) fields.wrong_type("messages", "a list of messages");
  if (given->empty()) fields.refuse("messages", "is empty.");
  ordered_json messages = *given;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    ordered_json& message = messages[i];
    if (!message.is_object()) fields.wrong_type("messages", "a list of objects");
    const Fields read(message, fmt::format("messages[{}].", i));
    check_fields(read, FieldPlace::kMessage);
    if (const ordered_json* content = read.find("content")) check_content(read, *content);
    const auto reasoning = read.text("reasoning");
    if (reasoning && read.find("reasoning_content") == nullptr) message["reasoning_content"] = *reasoning;
  }
  return messages;
}

std::string content_text_of(const ordered_json& message) {
  const Fields fields(message);
  const ordered_json* content = fields.find("content");
  if (content == nullptr || content->is_string()) return content == nullptr ? "" : content->get<std::string>();
  std::string text;
  for (const ordered_json& part : *content) {
    if (&part != &content->front()) text += "\n\n";
    text += part["text"].get<std::string>();
  }
  return text;
}

// Sets how the prompt ends: with the assistant's turn, or with the last message, which may be left open.
void read_end(const Fields& fields, const Fields& last, MessageEncoding& encoding) {
  const bool asked = fields.flag("continue_final_message").value_or(false);
  if (asked && fields.flag("add_generation_prompt").value_or(false)) {
    fields.refuse("continue_final_message", "and add_generation_prompt cannot both be true.");
  }
  encoding.add_generation_prompt = !asked && fields.flag("add_generation_prompt").value_or(true);
  const bool prefix = last.flag("prefix").value_or(false);
  if (!asked && !prefix) return;
  if (last.text("role") != "assistant") {
    if (prefix) fields.refuse("messages", "have the field prefix in one that is not the assistant's.");
    return;  // only the assistant's messages have an end
  }
  if (const ordered_json* calls = last.find("tool_calls"); calls != nullptr && !calls->empty()) {
    fields.refuse(asked ? "continue_final_message" : "messages", "cannot continue a message that has tool_calls.");
  }
  encoding.continue_final_message = true;
}

// DeepSeek's own field: {"type": "enabled"} or "disabled".
std::optional<bool> read_thinking(const Fields& fields) {
  const auto thinking = fields.object("thinking");
  if (!thinking) return std::nullopt;
  check_fields(*thinking, FieldPlace::kThinking);
  const auto type = thinking->text("type");
  if (type != "enabled" && type != "disabled") thinking->refuse("type", R"(must be "enabled" or "disabled".)");
  return type == "enabled";
}

struct TemplateKwargs {
  std::optional<std::string> effort;
  std::optional<bool> thinking;
  std::optional<bool> drop_thinking;
};

// The request's fields, its chat_template_kwargs, and the server's, in this order.
TemplateKwargs read_kwargs(const Fields& fields, ordered_json default_kwargs) {
  TemplateKwargs read;
  read.effort = fields.text("reasoning_effort");
  const auto add = [&read](const Fields& kwargs) {
    if (!read.thinking) read.thinking = kwargs.flag("thinking");
    if (!read.thinking) read.thinking = kwargs.flag("enable_thinking");
    if (!read.effort) read.effort = kwargs.text("reasoning_effort");
    // A request with an effort wants reasoning.
    if (!read.thinking && read.effort) read.thinking = read.effort != "none";
    if (!read.drop_thinking) read.drop_thinking = kwargs.flag("drop_thinking");
  };
  read.thinking = read_thinking(fields);
  if (const auto kwargs = fields.object("chat_template_kwargs")) {
    check_fields(*kwargs, FieldPlace::kTemplateKwargs);
    add(*kwargs);
  } else {
    add(Fields(ordered_json::object()));
  }
  if (read.thinking == false) default_kwargs.erase("reasoning_effort");
  add(Fields(default_kwargs));
  if (read.effort == "none") read.effort.reset();
  return read;
}

// In a message that the prompt shows them of.
bool has_tools(const ordered_json& message) {
  const ordered_json role = message.value("role", ordered_json());
  const auto tools = message.find("tools");
  return (role == "system" || role == "developer") && tools != message.end() && tools->is_array() && !tools->empty();
}

std::string encode(const ordered_json& messages, const ordered_json& given, const MessageEncoding& encoding) {
  try {
    return encode_messages(messages, encoding);
  } catch (const Error& e) {
    // Errors are to count the client's messages.
    if (messages.size() != given.size()) encode_messages(given, encoding);
    throw;
  }
}

}  // namespace

ordered_json read_chat_template_kwargs(std::string_view json, const std::string& where) {
  ordered_json kwargs = parse_bounded_json(json, where);
  if (!kwargs.is_object()) throw Error(fmt::format("{}: expected a JSON object.", where));
  try {
    const Fields fields(kwargs);
    for (const char* name : {"thinking", "enable_thinking", "drop_thinking"}) fields.flag(name);
    if (const auto effort = fields.text("reasoning_effort"); effort && *effort != "none") {
      reasoning_effort(*effort, EncodingRelease::kPreview);
    }
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", where, e.what()));
  }
  return kwargs;
}

ChatPrompt read_chat_prompt(const Fields& fields, const RequestDefaults& defaults) {
  ordered_json messages = read_messages(fields);
  const ordered_json given = messages;
  const ordered_json& last = given.back();
  const auto add_to_system_message = [&](const char* name, const ordered_json& value) {
    if (!messages.front().is_object() || messages.front().value("role", ordered_json()) != "system") {
      const ordered_json system = {{"role", "system"}, {"content", ""}};
      messages.insert(messages.begin(), system);
    }
    messages.front()[name] = value;
  };
  const ordered_json* choice = fields.find("tool_choice");
  const bool may_call = choice == nullptr || *choice != "none";
  if (const ordered_json* tools = fields.find("tools")) {
    check_tools(fields, *tools);
    if (!tools->empty() && std::ranges::any_of(given, has_tools)) {
      fields.refuse("tools", "are in the request and in a message: leave one of them.");
    }
    if (!tools->empty() && may_call) add_to_system_message("tools", *tools);
  }
  if (const auto format = fields.object("response_format"); format && format->text("type") == "json_schema") {
    const auto described = format->object("json_schema");
    const ordered_json* schema = described ? described->find("schema") : nullptr;
    if (schema != nullptr) add_to_system_message("response_format", *schema);
  }
  MessageEncoding encoding;
  encoding.release = defaults.encoding;
  const TemplateKwargs kwargs = read_kwargs(fields, defaults.chat_template_kwargs);
  if (kwargs.thinking.value_or(false)) encoding.thinking_mode = ThinkingMode::kThinking;
  encoding.drop_thinking = kwargs.drop_thinking.value_or(true);
  if (kwargs.effort) encoding.reasoning_effort = reasoning_effort(*kwargs.effort, defaults.encoding);
  read_end(fields, Fields(last), encoding);
  ChatPrompt prompt;
  prompt.has_tools = may_call && std::ranges::any_of(messages, has_tools);
  try {
    prompt.text = encode(messages, given, encoding);
  } catch (const Error& e) {
    throw ApiError(400, e.what(), "messages");
  }
  const std::string content = content_text_of(last);
  const std::string last_role = Fields(last).text("role").value_or("");
  const bool next = !encoding.continue_final_message && encoding.add_generation_prompt;
  if (!next) prompt.role = last_role;
  if (prompt.role == last_role) prompt.last_content = content;
  if (next || (encoding.continue_final_message && content.empty())) prompt.thinking_mode = encoding.thinking_mode;
  return prompt;
}

std::vector<TokenId> chat_ids(const Fields& fields, const ChatPrompt& prompt, const Tokenizer& tokenizer,
                              const std::stop_token& gone) {
  const bool special = fields.flag("add_special_tokens").value_or(false);
  return tokenizer.encode(prompt.text, {.add_special_tokens = special, .unwanted = gone});
}

}  // namespace outrider
