#include "outrider/prompt/completion_parser.h"

#include <fmt/format.h>

#include <initializer_list>
#include <optional>
#include <utility>

#include "outrider/prompt/markup.h"
#include "outrider/prompt/python_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::string_view kToolCallsOpening = "\n\n<｜DSML｜tool_calls";

// Reads a text from front to back, up to marks.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  struct Piece {
    std::string_view text;
    std::string_view mark;  // the mark that ended it; empty at the end of the text
  };
  // Reads up to and including the first of `marks`; everything if there is none.
  Piece until(std::initializer_list<std::string_view> marks) {
    std::size_t end = std::string_view::npos;
    std::string_view found;
    for (const std::string_view mark : marks) {
      const std::size_t at = rest_.find(mark);
      if (at < end) {
        end = at;
        found = mark;
      }
    }
    const Piece piece{rest_.substr(0, end), found};
    rest_.remove_prefix(piece.text.size() + found.size());
    return piece;
  }
  bool done() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

bool strip_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// Strips `suffix`, or, like Python's $, `suffix` before a final line feed.
bool strip_suffix(std::string_view& text, std::string_view suffix) {
  for (const std::string_view end : {std::string_view{}, std::string_view{"\n"}}) {
    std::string_view left = text;
    if (!left.ends_with(end)) continue;
    left.remove_suffix(end.size());
    if (!left.ends_with(suffix)) continue;
    left.remove_suffix(suffix.size());
    text = left;
    return true;
  }
  return false;
}

std::string tool_name(std::string_view header) {
  std::string_view name = header;
  while (!name.empty() && std::string_view(" \t\n\v\f\r").find(name.front()) != std::string_view::npos) {
    name.remove_prefix(1);
  }
  if (!strip_prefix(name, "name=\"") || !strip_suffix(name, "\">\n")) {
    throw Error(fmt::format("Tool name format error: '{}'", printable(header)));
  }
  return std::string(name);
}

struct Parameter {
  std::string name;
  std::string json;
};

// Parses ` name="…" string="true|false">…<`
Parameter parameter(std::string_view text) {
  std::string_view rest = text;
  if (strip_prefix(rest, " name=\"") && strip_suffix(rest, "<")) {
    std::size_t end = std::string_view::npos;
    std::string_view separator;
    bool string = false;
    for (const auto& [mark, is_string] : {std::pair{std::string_view("\" string=\"true\">"), true},
                                          std::pair{std::string_view("\" string=\"false\">"), false}}) {
      const std::size_t at = rest.find(mark);
      if (at < end) {
        end = at;
        separator = mark;
        string = is_string;
      }
    }
    if (end != std::string_view::npos) {
      const std::string_view value = rest.substr(end + separator.size());
      return {std::string(rest.substr(0, end)), string ? python_json_string(value) : std::string(value)};
    }
  }
  throw Error(fmt::format("Parameter format error: '{}'", printable(text)));
}

ToolCall invocation(Reader& reader) {
  const auto next_part = [&] { return reader.until({markup::kParameterStart, markup::kInvokeEnd}); };
  Reader::Piece piece = next_part();
  ToolCall call;
  call.name = tool_name(piece.text);
  std::vector<Parameter> parameters;
  while (piece.mark == markup::kParameterStart) {
    Parameter read = parameter(reader.until({markup::kParameterEnd}).text);
    for (const Parameter& earlier : parameters) {
      if (earlier.name == read.name) {
        throw Error(fmt::format("Duplicate parameter name: '{}'", printable(read.name)));
      }
    }
    parameters.push_back(std::move(read));
    piece = next_part();
    if (piece.text != ">\n") {
      throw Error(fmt::format("Parameter format error: expected '>\\n' but got '{}'", printable(piece.text)));
    }
  }
  call.arguments = "{";
  for (const Parameter& each : parameters) {
    if (&each != &parameters.front()) call.arguments += ", ";
    call.arguments += python_json_string(each.name) + ": " + each.json;
  }
  call.arguments += "}";
  return call;
}

std::vector<ToolCall> tool_calls(Reader& reader) {
  std::vector<ToolCall> calls;
  while (!reader.done()) {
    const Reader::Piece piece = reader.until({markup::kInvokeStart, markup::kToolCallsEnd});
    if (piece.text != ">\n") {
      throw Error(fmt::format("Tool call format error: expected '>\\n' but got '{}'", printable(piece.text)));
    }
    if (piece.mark == markup::kToolCallsEnd) break;
    if (piece.mark.empty()) throw Error("Missing special token in tool calls");
    calls.push_back(invocation(reader));
  }
  return calls;
}

}  // namespace

Completion parse_completion(std::string_view text, ThinkingMode thinking_mode) {
  Reader reader(text);
  Completion completion;
  if (thinking_mode == ThinkingMode::kThinking) {
    const Reader::Piece reasoning = reader.until({markup::kThinkEnd, kToolCallsOpening});
    if (reasoning.mark != markup::kThinkEnd) throw Error("Invalid thinking format: missing </think>");
    completion.reasoning_content = reasoning.text;
  }
  const Reader::Piece content = reader.until({markup::kEndOfSentence, kToolCallsOpening});
  completion.content = content.text;
  if (content.mark == kToolCallsOpening) {
    completion.tool_calls = tool_calls(reader);
    if (!reader.until({markup::kEndOfSentence}).text.empty()) throw Error("Unexpected content after tool calls");
  } else if (content.mark.empty()) {
    throw Error("Invalid format: missing EOS token");
  }
  if (!reader.done()) throw Error("Unexpected content at end");
  for (const std::string_view token :
       {markup::kBeginOfSentence, markup::kEndOfSentence, markup::kThinkStart, markup::kThinkEnd, markup::kDsml}) {
    if (completion.content.find(token) != std::string::npos ||
        completion.reasoning_content.find(token) != std::string::npos) {
      throw Error(fmt::format("Unexpected special token '{}' in content", token));
    }
  }
  return completion;
}

nlohmann::ordered_json to_message(const Completion& completion) {
  nlohmann::ordered_json calls = nlohmann::ordered_json::array();
  for (const ToolCall& call : completion.tool_calls) {
    calls.push_back({{"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  }
  return {{"role", "assistant"},
          {"content", completion.content},
          {"reasoning_content", completion.reasoning_content},
          {"tool_calls", std::move(calls)}};
}

}  // namespace outrider
