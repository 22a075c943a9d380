#include "outrider/server/constraint_fields.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "outrider/prompt/python_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using Content = MessageShape::Content;

// Reads constraints on the content; the second is an error.
class ContentReader {
 public:
  void response_format(const Fields& request) {
    const std::optional<Fields> format = request.object("response_format");
    if (!format) return;
    const std::string type = format->text("type").value_or("");
    if (type == "text") return;
    if (type == "json_object") {
      const ordered_json* described = format->find("schema");
      if (described != nullptr && !(described->is_object() && described->empty())) {
        schema(*format, "response_format.", "schema");
      } else {
        begin(Content::kJsonObject, "response_format");
      }
    } else if (type == "json_schema") {
      const std::optional<Fields> described = format->object("json_schema");
      if (!described) format->wrong_type("json_schema", R"(an object with "name" and "schema")");
      if (described->find("schema") == nullptr) described->wrong_type("schema", "a JSON Schema");
      schema(*described, "response_format.json_schema.", "schema");
    } else if (type == "structural_tag") {
      format->refuse("type", R"("structural_tag" is not supported; use "json_schema" or tools.)");
    } else {
      format->refuse("type", R"(must be "text", "json_object" or "json_schema".)");
    }
  }

  void structured_outputs(const Fields& request) {
    const std::optional<Fields> given = request.object("structured_outputs");
    if (!given) return;
    static constexpr std::array<std::string_view, 9> kKnown = {"json",
                                                               "regex",
                                                               "choice",
                                                               "grammar",
                                                               "json_object",
                                                               "disable_any_whitespace",
                                                               "structural_tag",
                                                               "whitespace_pattern",
                                                               "disable_additional_properties"};
    for (const auto& [name, value] : request.find("structured_outputs")->items()) {
      if (!value.is_null() && std::ranges::find(kKnown, name) == kKnown.end()) {
        given->refuse(name, "is not a field of structured_outputs.");
      }
    }
    const std::size_t before = contents_;
    constexpr const char* kPrefix = "structured_outputs.";
    schema(*given, kPrefix, "json");
    text(*given, kPrefix, "regex", Content::kRegex);
    choice(*given, kPrefix, "choice");
    text(*given, kPrefix, "grammar", Content::kEbnf);
    if (given->flag("json_object").value_or(false)) begin(Content::kJsonObject, "structured_outputs.json_object");
    refuse_given(*given, "structural_tag");
    refuse_given(*given, "whitespace_pattern");
    if (contents_ == before) {
      request.refuse("structured_outputs", R"(needs one of "json", "regex", "choice", "grammar" and "json_object".)");
    }
    shape.compact = given->flag("disable_any_whitespace").value_or(false);
    given->flag("disable_additional_properties");  // as without it: objects have only the listed properties
  }

  // Throws if the field is given.
  static void refuse_given(const Fields& fields, const char* name) {
    if (fields.find(name) != nullptr) fields.refuse(name, "is not supported.");
  }

  void schema(const Fields& fields, const std::string& prefix, const char* name) {
    const ordered_json* value = fields.find(name);
    if (value == nullptr) return;
    begin(Content::kJsonSchema, prefix + name);
    shape.schema = *value;
    if (value->is_string()) {
      try {
        shape.schema = parse_python_json(value->get<std::string>(), shape.where);
      } catch (const Error& e) {
        throw ApiError(400, e.what(), shape.where);
      }
    }
    if (!shape.schema.is_object() && !shape.schema.is_boolean()) fields.wrong_type(name, "a JSON Schema");
  }

  void text(const Fields& fields, const std::string& prefix, const char* name, Content content) {
    const std::optional<std::string> value = fields.text(name);
    if (!value) return;
    begin(content, prefix + name);
    shape.text = *value;
  }

  void choice(const Fields& fields, const std::string& prefix, const char* name) {
    const ordered_json* value = fields.find(name);
    if (value == nullptr) return;
    begin(Content::kChoice, prefix + name);
    const bool strings =
        value->is_array() && std::ranges::all_of(*value, [](const ordered_json& each) { return each.is_string(); });
    if (!strings) fields.wrong_type(name, "a list of strings");
    if (value->empty()) fields.refuse(name, "is empty.");
    shape.choices = value->get<std::vector<std::string>>();
    for (const std::string& each : shape.choices) {
      if (!simdjson::validate_utf8(each)) {
        fields.refuse(name, fmt::format("has \"{}\", which is not valid Unicode.", printable(each)));
      }
    }
  }

  MessageShape shape;

 private:
  void begin(Content content, const std::string& field) {
    if (++contents_ > 1) {
      throw ApiError(
          400, fmt::format("{} and {} both constrain the output; leave one of them out.", shape.where, field), field);
    }
    shape.content = content;
    shape.where = field;
  }

  std::size_t contents_ = 0;
};

// The function that tool_choice requires; nothing if the model may choose.
std::optional<std::string> named_function(const Fields& request, const ordered_json& choice) {
  if (choice == "required") return std::nullopt;
  const ordered_json function = choice.is_object() ? choice.value("function", ordered_json()) : ordered_json();
  if (!function.is_object() || !function.contains("name") || !function["name"].is_string()) {
    request.refuse("tool_choice",
                   R"(must be "none", "auto", "required" or {"type": "function", "function": {"name": …}}.)");
  }
  return function["name"].get<std::string>();
}

void read_tool_choice(const Fields& request, MessageShape& shape) {
  const ordered_json* tools = request.find("tools");
  const ordered_json* choice = request.find("tool_choice");
  const bool given = tools != nullptr && tools->is_array() && !tools->empty();
  const bool open = choice == nullptr || *choice == "auto";
  if (choice != nullptr && *choice == "none") return;
  if (open && (!given || shape.content == Content::kNone)) return;
  const std::optional<std::string> name = open ? std::nullopt : named_function(request, *choice);
  if (!given) request.refuse("tool_choice", "requires a tool call, but the request has no tools.");
  if (!open && shape.content != Content::kNone && !shape.where.starts_with("response_format")) {
    request.refuse("tool_choice", fmt::format("requires a tool call, but {} constrains the content; leave one of them "
                                              "out.",
                                              shape.where));
  }
  for (const ordered_json& tool : *tools) {
    const ordered_json& function = tool.at("function");
    if (!name || function.at("name") == *name) shape.functions.push_back(function);
  }
  if (shape.functions.empty()) {
    request.refuse("tool_choice",
                   fmt::format("names the function \"{}\", which is not among the tools.", printable(*name)));
  }
  if (!open) shape.content = Content::kNone;
  shape.several_calls = !name && request.flag("parallel_tool_calls").value_or(true);
}

}  // namespace

MessageShape read_constraint(const Fields& request, bool chat) {
  ContentReader reader;
  reader.response_format(request);
  reader.structured_outputs(request);
  reader.schema(request, "", "guided_json");
  reader.text(request, "", "guided_regex", Content::kRegex);
  reader.choice(request, "", "guided_choice");
  reader.text(request, "", "guided_grammar", Content::kEbnf);
  reader.schema(request, "", "json_schema");
  reader.text(request, "", "grammar", Content::kEbnf);
  if (chat) read_tool_choice(request, reader.shape);
  return std::move(reader.shape);
}

}  // namespace outrider
