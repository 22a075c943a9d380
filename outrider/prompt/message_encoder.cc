#include "outrider/prompt/message_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "outrider/prompt/markup.h"
#include "outrider/prompt/python_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kAbsoluteMaximum =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, "
    "rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, considered "
    "alternative, and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n";
constexpr std::string_view kBeyondMaximum =
    "Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.\n"
    "You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the "
    "problem into its most fundamental components, trace every causal chain to its root, and resolve the underlying "
    "cause rather than any surface symptom.\n"
    "Do not stop reasoning until you have independently verified the solution from multiple angles and are certain "
    "that no assumption remains unchecked and no error remains undiscovered.\n\n";
constexpr std::string_view kToolsBefore =
    "\n\n## Tools\n\n"
    "You have access to a set of tools to help answer the user's question. You can invoke tools by writing a "
    "\"<｜DSML｜tool_calls>\" block like the following:\n\n"
    "<｜DSML｜tool_calls>\n"
    "<｜DSML｜invoke name=\"$TOOL_NAME\">\n"
    "<｜DSML｜parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</｜DSML｜parameter>\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"$TOOL_NAME2\">\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "</｜DSML｜tool_calls>\n\n"
    "String parameters should be specified as is and set `string=\"true\"`. For all other types (numbers, booleans, "
    "arrays, objects), pass the value in JSON format and set `string=\"false\"`.\n\n"
    "If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside "
    "<think>...</think> BEFORE any tool calls or final response.\n\n"
    "Otherwise, output directly after </think> with tool calls or final response.\n\n"
    "### Available Tool Schemas\n\n";
constexpr std::string_view kToolsAfter =
    "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n";
constexpr std::string_view kResponseFormat =
    "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

enum class Role { kSystem, kDeveloper, kUser, kAssistant, kLatestReminder };

// A part of a user's turn: text, or a tool's result.
struct Block {
  bool tool_result = false;
  std::string text;
  std::string tool_call_id;
};

struct Message {
  Role role = Role::kUser;
  std::string content;
  std::vector<Block> blocks;  // of a user
  std::string reasoning_content;
  std::optional<std::string> task;
  bool wo_eos = false;
  ordered_json tools;            // of system and developer; null if there are none
  ordered_json response_format;  // likewise
  ordered_json tool_calls;       // of the assistant
};

[[noreturn]] void fail(std::size_t index, std::string_view what) {
  throw Error(fmt::format("messages[{}]: {}", index, what));
}

// Whether Python treats a value as false.
bool is_false(const ordered_json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();  // null, [] and {}
}

ordered_json field(const ordered_json& message, const char* name) {
  const auto found = message.find(name);
  return found == message.end() ? ordered_json() : *found;
}

std::string string_field(const ordered_json& object, const char* name, std::size_t index) {
  const ordered_json value = field(object, name);
  if (value.is_null()) return {};
  if (!value.is_string()) fail(index, fmt::format("\"{}\" is not a string.", name));
  return value.get<std::string>();
}

// The text of a `content`: a string, null, or parts; parts that are not text are named as unsupported.
std::string content_text(const ordered_json& content, std::size_t index) {
  if (content.is_null()) return {};
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) fail(index, "\"content\" is neither a string nor an array of parts.");
  std::string text;
  for (const ordered_json& part : content) {
    if (!part.is_object()) fail(index, "a part of \"content\" is not an object.");
    if (&part != &content.front()) text += "\n\n";
    const std::string type = string_field(part, "type", index);
    text += type == "text" ? string_field(part, "text", index) : fmt::format("[Unsupported {}]", type);
  }
  return text;
}

Role role_of(const std::string& role, std::size_t index) {
  if (role == "system") return Role::kSystem;
  if (role == "developer") return Role::kDeveloper;
  if (role == "user") return Role::kUser;
  if (role == "assistant") return Role::kAssistant;
  if (role == "latest_reminder") return Role::kLatestReminder;
  fail(index, fmt::format("Unknown role: {}. Supported roles are system, developer, user, assistant, tool and "
                          "latest_reminder.",
                          printable(role)));
}

// Reads the messages, joining consecutive tool results and user messages into one user's turn.
std::vector<Message> read_messages(const ordered_json& messages) {
  if (!messages.is_array()) throw Error("messages is not an array of messages.");
  std::vector<Message> out;
  for (std::size_t index = 0; index < messages.size(); ++index) {
    const ordered_json& message = messages[index];
    if (!message.is_object()) fail(index, "is not an object.");
    const std::string role = string_field(message, "role", index);
    const std::string content = content_text(field(message, "content"), index);
    const ordered_json task = field(message, "task");
    if (role == "tool") {
      if (out.empty() || out.back().role != Role::kUser) out.emplace_back();
      out.back().blocks.push_back({true, content, string_field(message, "tool_call_id", index)});
      continue;
    }
    if (role == "user" && !out.empty() && out.back().role == Role::kUser && !out.back().task) {
      out.back().blocks.push_back({false, content, {}});
      continue;
    }
    Message& read = out.emplace_back();
    read.role = role_of(role, index);
    read.content = content;
    if (!task.is_null()) read.task = string_field(message, "task", index);
    if (read.role == Role::kUser) {
      read.blocks.push_back({false, content, {}});
      continue;
    }
    read.reasoning_content = string_field(message, "reasoning_content", index);
    read.wo_eos = !is_false(field(message, "wo_eos"));
    const auto optional_field = [&](const char* name) {
      ordered_json value = field(message, name);
      return is_false(value) ? ordered_json() : value;
    };
    read.tools = optional_field("tools");
    read.response_format = optional_field("response_format");
    read.tool_calls = optional_field("tool_calls");
    for (const auto& [name, list] : {std::pair{"tools", &read.tools}, std::pair{"tool_calls", &read.tool_calls}}) {
      if (list->is_null()) continue;
      const auto has_function = [](const ordered_json& entry) {
        return entry.is_object() && entry.contains("function") && entry["function"].is_object();
      };
      if (!list->is_array() || !std::all_of(list->begin(), list->end(), has_function)) {
        fail(index, fmt::format("\"{}\" is not an array of objects with a \"function\".", name));
      }
    }
    if (read.role == Role::kDeveloper && content.empty()) {
      fail(index, "Invalid message for role `developer`: its content is empty.");
    }
  }
  return out;
}

// Sorts the tool results of each user's turn in the order of the calls that they answer.
void sort_tool_results(std::vector<Message>& messages) {
  std::unordered_map<std::string, std::size_t> order;
  for (Message& message : messages) {
    if (message.role == Role::kAssistant && !message.tool_calls.is_null()) {
      order.clear();
      for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
        const ordered_json& call = message.tool_calls[i];
        for (const ordered_json* holder : {&call, &call["function"]}) {
          const ordered_json id = field(*holder, "id");
          if (!id.is_string() || id.get_ref<const std::string&>().empty()) continue;
          order[id.get<std::string>()] = i;
          break;
        }
      }
    }
    if (message.role != Role::kUser || order.empty()) continue;
    std::vector<Block> results;
    for (const Block& block : message.blocks) {
      if (block.tool_result) results.push_back(block);
    }
    const auto place = [&](const Block& block) {
      const auto found = order.find(block.tool_call_id);
      return found == order.end() ? 0 : found->second;
    };
    std::stable_sort(results.begin(), results.end(),
                     [&](const Block& a, const Block& b) { return place(a) < place(b); });
    auto next = results.begin();
    for (Block& block : message.blocks) {
      if (block.tool_result) block = std::move(*next++);
    }
  }
}

bool asks(const Message& message) {
  return message.role == Role::kUser || message.role == Role::kDeveloper;
}

// The index of the last message of a user or developer; -1 if there is none.
std::ptrdiff_t last_asking(const std::vector<Message>& messages) {
  for (std::size_t i = messages.size(); i > 0; --i) {
    if (asks(messages[i - 1])) return static_cast<std::ptrdiff_t>(i) - 1;
  }
  return -1;
}

// Drops the developer messages before the last question; reasoning before it is never encoded.
std::vector<Message> without_earlier_developers(const std::vector<Message>& messages) {
  const std::ptrdiff_t last = last_asking(messages);
  std::vector<Message> out;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role != Role::kDeveloper || static_cast<std::ptrdiff_t>(i) >= last) out.push_back(messages[i]);
  }
  return out;
}

std::string_view effort_prefix(const MessageEncoding& encoding) {
  const bool preview = encoding.release == EncodingRelease::kPreview;
  if (!encoding.reasoning_effort) return {};
  const std::string& effort = *encoding.reasoning_effort;
  if (effort == "max") return preview ? kAbsoluteMaximum : kBeyondMaximum;
  if (effort == "high") return preview ? std::string_view{} : kAbsoluteMaximum;
  if (effort == "low" && !preview) return {};
  throw Error(
      preview
          ? fmt::format("Invalid reasoning effort: {}. The preview release supports high and max.", printable(effort))
          : fmt::format("Invalid reasoning effort: {}, expected one of ['low', 'high', 'max']", printable(effort)));
}

std::string_view task_token(const std::string& task) {
  static constexpr std::pair<std::string_view, std::string_view> kTasks[] = {
      {"action", "<｜action｜>"}, {"query", "<｜query｜>"}, {"authority", "<｜authority｜>"},
      {"domain", "<｜domain｜>"}, {"title", "<｜title｜>"}, {"read_url", "<｜read_url｜>"}};
  for (const auto& [name, token] : kTasks) {
    if (task == name) return token;
  }
  throw Error(
      fmt::format("Invalid task: '{}'. Supported tasks are action, query, authority, domain, title and read_url.",
                  printable(task)));
}

std::string tools_section(const ordered_json& tools) {
  std::string text(kToolsBefore);
  for (std::size_t i = 0; i < tools.size(); ++i) {
    if (i > 0) text += '\n';
    text += python_json(tools[i]["function"]);
  }
  return text.append(kToolsAfter);
}

// The arguments of a call as an object. Anything but a JSON object becomes the single parameter "arguments".
ordered_json arguments_object(const ordered_json& arguments) {
  if (arguments.is_object()) return arguments;
  if (arguments.is_string()) {
    try {
      ordered_json parsed = parse_python_json(arguments.get_ref<const std::string&>(), "arguments");
      if (parsed.is_object()) return parsed;
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): see above
    }
  }
  ordered_json object = ordered_json::object();
  object["arguments"] = arguments;
  return object;
}

std::string dsml(const ordered_json& tool_calls) {
  std::string text = fmt::format("\n\n{}>\n", markup::kToolCallsStart);
  for (const ordered_json& call : tool_calls) {
    const ordered_json& function = call["function"];
    const ordered_json name = field(function, "name");
    if (!name.is_string()) throw Error("tool_calls: a function's \"name\" is not a string.");
    text += fmt::format("{} name=\"{}\">\n", markup::kInvokeStart, name.get_ref<const std::string&>());
    bool first = true;
    const ordered_json arguments = arguments_object(field(function, "arguments"));
    for (const auto& [key, value] : arguments.items()) {
      if (!first) text += '\n';
      first = false;
      text += fmt::format("{} name=\"{}\" string=\"{}\">{}<{}>", markup::kParameterStart, key, value.is_string(),
                          value.is_string() ? value.get<std::string>() : python_json(value), markup::kParameterEnd);
    }
    text += fmt::format("\n{}>\n", markup::kInvokeEnd);
  }
  return text.append(markup::kToolCallsEnd);
}

std::string user_turn(const Message& message) {
  std::string text(markup::kUser);
  for (const Block& block : message.blocks) {
    if (&block != &message.blocks.front()) text += "\n\n";
    text += block.tool_result ? fmt::format("<tool_result>{}</tool_result>", block.text) : block.text;
  }
  return text;
}

// Encodes one message, and what follows it if the assistant's turn is next. `last`: last_asking(messages).
std::string render(const std::vector<Message>& messages, std::size_t index, std::ptrdiff_t last,
                   const MessageEncoding& encoding, bool drop_thinking) {
  const Message& message = messages[index];
  const auto here = static_cast<std::ptrdiff_t>(index);
  const bool thinking = encoding.thinking_mode == ThinkingMode::kThinking;
  const bool final = index + 1 == messages.size();
  const bool open = final && encoding.continue_final_message;
  std::string text;
  switch (message.role) {
    case Role::kSystem:
    case Role::kDeveloper:
      if (message.role == Role::kDeveloper) text += markup::kUser;
      text += message.content;
      if (!message.tools.is_null()) text += tools_section(message.tools);
      if (!message.response_format.is_null()) {
        text.append(kResponseFormat).append(python_json(message.response_format));
      }
      break;
    case Role::kUser:
      text += user_turn(message);
      break;
    case Role::kLatestReminder:
      text.append(markup::kLatestReminder).append(message.content);
      break;
    case Role::kAssistant: {
      const bool answers_task = index > 0 && messages[index - 1].task;
      if (thinking && !answers_task && (!drop_thinking || here > last)) {
        text += message.reasoning_content;
        if (!open || !message.content.empty()) text += markup::kThinkEnd;
      }
      text += message.content;
      if (!message.tool_calls.is_null()) text += dsml(message.tool_calls);
      if (!message.wo_eos && !open) text += markup::kEndOfSentence;
      break;
    }
  }
  if (final && !encoding.add_generation_prompt) return text;
  if (!final) {
    const Role next = messages[index + 1].role;
    if (next != Role::kAssistant && next != Role::kLatestReminder) return text;
  }
  if (message.task) {
    const std::string_view token = task_token(*message.task);
    if (*message.task == "action") {
      text.append(markup::kAssistant).append(thinking ? markup::kThinkStart : markup::kThinkEnd);
    }
    text += token;
  } else if (asks(message)) {
    const bool think = thinking && (!drop_thinking || here >= last);
    text.append(markup::kAssistant).append(think ? markup::kThinkStart : markup::kThinkEnd);
  }
  return text;
}

}  // namespace

std::string encode_messages(const ordered_json& messages, const MessageEncoding& encoding) {
  std::vector<Message> context = read_messages(encoding.context);
  std::vector<Message> all = context;
  for (Message& message : read_messages(messages)) all.push_back(std::move(message));
  sort_tool_results(all);

  const bool thinking = encoding.thinking_mode == ThinkingMode::kThinking;
  const bool any_tools = std::any_of(all.begin(), all.end(), [](const Message& m) { return !m.tools.is_null(); });
  const bool drop_thinking = encoding.drop_thinking && !any_tools;
  if (thinking && drop_thinking) {
    all = without_earlier_developers(all);
    context = without_earlier_developers(context);
  }
  std::string prompt;
  if (encoding.add_default_bos_token && context.empty()) prompt += markup::kBeginOfSentence;
  const std::string_view effort = effort_prefix(encoding);
  if (thinking && context.empty() && !all.empty()) prompt += effort;
  const std::ptrdiff_t last = last_asking(all);
  for (std::size_t i = context.size(); i < all.size(); ++i) prompt += render(all, i, last, encoding, drop_thinking);
  return prompt;
}

}  // namespace outrider
