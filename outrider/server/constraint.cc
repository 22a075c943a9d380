#include "outrider/server/constraint.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "outrider/grammar/grammar.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMaxCached = 32;
constexpr std::size_t kMaxBytes = std::size_t{256} << 20;  // of the cached masks
constexpr const char* kSchemaField = "response_format.json_schema.schema";

void read_response_format(const Fields& request, MessageShape& shape) {
  const std::optional<Fields> format = request.object("response_format");
  if (!format) return;
  const std::string type = format->text("type").value_or("");
  if (type == "text") return;
  if (type == "json_object") {
    shape.content = MessageShape::Content::kJsonObject;
    return;
  }
  if (type != "json_schema") format->refuse("type", R"(must be "text", "json_object" or "json_schema".)");
  const std::optional<Fields> described = format->object("json_schema");
  if (!described) format->wrong_type("json_schema", R"(an object with "name" and "schema")");
  const ordered_json* schema = described->find("schema");
  if (schema == nullptr || (!schema->is_object() && !schema->is_boolean())) {
    described->wrong_type("schema", "a JSON Schema");
  }
  shape.content = MessageShape::Content::kJsonSchema;
  shape.schema = *schema;
  shape.schema_where = kSchemaField;
}

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
  if (open && (!given || shape.content == MessageShape::Content::kNone)) return;
  const std::optional<std::string> name = open ? std::nullopt : named_function(request, *choice);
  if (!given) request.refuse("tool_choice", "requires a tool call, but the request has no tools.");
  for (const ordered_json& tool : *tools) {
    const ordered_json& function = tool.at("function");
    if (!name || function.at("name") == *name) shape.functions.push_back(function);
  }
  if (shape.functions.empty()) {
    request.refuse("tool_choice",
                   fmt::format("names the function \"{}\", which is not among the tools.", printable(*name)));
  }
  if (!open) shape.content = MessageShape::Content::kNone;
  shape.several_calls = !name && request.flag("parallel_tool_calls").value_or(true);
}

std::string key_of(const MessageShape& shape) {
  return ordered_json(
             {shape.reasoning, static_cast<int>(shape.content), shape.schema, shape.functions, shape.several_calls})
      .dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

std::shared_ptr<MaskTable> Constraints::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto known = std::ranges::find(known_, key, &decltype(known_)::value_type::first);
  if (known == known_.end()) return nullptr;
  known_.splice(known_.begin(), known_, known);
  return known_.front().second;
}

std::shared_ptr<MaskTable> Constraints::read(const Fields& request, bool chat, bool reasoning) {
  MessageShape shape;
  read_response_format(request, shape);
  if (chat) read_tool_choice(request, shape);
  if (shape.content == MessageShape::Content::kNone && shape.functions.empty()) return nullptr;
  shape.reasoning = reasoning;
  const std::string key = key_of(shape);
  if (auto known = find(key)) return known;
  std::shared_ptr<const Grammar> grammar;
  try {
    grammar = std::make_shared<const Grammar>(Grammar::message(shape));
  } catch (const Error& e) {
    throw ApiError(400, e.what(), shape.functions.empty() ? kSchemaField : "tools");
  }
  if (auto known = find(key)) return known;  // another request compiled it first
  const std::lock_guard lock(mutex_);
  if (trie_ == nullptr) trie_ = std::make_shared<const TokenTrie>(tokenizer_);
  known_.emplace_front(key, std::make_shared<MaskTable>(std::move(grammar), trie_));
  std::size_t bytes = 0;
  std::size_t kept = 0;
  for (const auto& [unused, table] : known_) {
    bytes += table->bytes();
    if (kept != 0 && (kept == kMaxCached || bytes > kMaxBytes)) break;
    ++kept;
  }
  known_.resize(kept);
  return known_.front().second;
}

}  // namespace outrider
