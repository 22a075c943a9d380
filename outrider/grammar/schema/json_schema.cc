#include "outrider/grammar/schema/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "outrider/grammar/schema/number_range.h"
#include "outrider/grammar/schema/pattern.h"
#include "outrider/grammar/schema/schema_merge.h"
#include "outrider/util/dumped_json.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using State = Automaton::State;

constexpr std::size_t kMaxReferences = 64;  // references that lead to references
constexpr std::size_t kMaxShownPath = 200;
constexpr std::size_t kMaxBytes = std::size_t{1} << 20;  // of a serialized schema: larger ones make too large a grammar

// Constraining keywords of JSON Schema that are not supported.
constexpr std::array<std::string_view, 22> kUnsupported = {"not",
                                                           "if",
                                                           "then",
                                                           "else",
                                                           "dependentSchemas",
                                                           "dependentRequired",
                                                           "dependencies",
                                                           "patternProperties",
                                                           "propertyNames",
                                                           "minProperties",
                                                           "maxProperties",
                                                           "contains",
                                                           "minContains",
                                                           "maxContains",
                                                           "multipleOf",
                                                           "unevaluatedProperties",
                                                           "unevaluatedItems",
                                                           "$dynamicRef",
                                                           "$recursiveRef",
                                                           "$anchor",
                                                           "$dynamicAnchor",
                                                           "additionalItems"};

std::string child(const std::string& path, std::string_view keyword) {
  return fmt::format("{}/{}", path, keyword);
}

bool has_type(const ordered_json& value, std::string_view type) {
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  return type == "object" ? value.is_object() : value.is_array();
}

const ordered_json* find(const ordered_json& schema, const char* keyword) {
  const auto found = schema.find(keyword);
  return found == schema.end() ? nullptr : &*found;
}

// The approximate cost of a copy, in steps of AutomatonBuilder::spend().
std::size_t weight(const ordered_json& value) {
  std::size_t sum = 8;
  if (value.is_string()) sum += value.get_ref<const std::string&>().size() / 8;
  if (value.is_structured()) {
    for (const auto& [key, each] : value.items()) sum += key.size() / 8 + weight(each);
  }
  return sum;
}

// Whether there are integers beyond 64 bits (see parse_python_json).
bool has_binary(const ordered_json& value) {
  return value.is_binary() || (value.is_structured() && std::ranges::any_of(value, has_binary));
}

}  // namespace

JsonSchemaCompiler::JsonSchemaCompiler(AutomatonBuilder& builder, JsonText& json, const ordered_json& root,
                                       std::string where)
    : builder_(builder), json_(json), root_(root), where_(std::move(where)) {
  const std::size_t bytes = dumped_json(root).size();
  if (bytes > kMaxBytes) {
    throw Error(fmt::format("{}: the schema has {} bytes; the maximum is {}.", where_, bytes, kMaxBytes));
  }
}

ordered_json JsonSchemaCompiler::merged(const ordered_json& a, const ordered_json& b, const std::string& path) {
  if (a.is_object() && b.is_object()) builder_.spend(a.size() * b.size() / 8);  // keywords are found by comparing them
  ordered_json made = merge_schemas(a, b, place(path));
  builder_.spend(4 * weight(made) + weight(b));
  return made;
}

std::string JsonSchemaCompiler::place(const std::string& path) const {
  const std::string shown = path.size() > kMaxShownPath ? path.substr(0, kMaxShownPath) + "…" : path;
  return fmt::format("{}: at {}", where_, printable(shown));
}

void JsonSchemaCompiler::refuse(const std::string& path, const std::string& why) const {
  throw Error(fmt::format("{}: {}", place(path), why));
}

const ordered_json& JsonSchemaCompiler::target(const std::string& reference, const std::string& path) const {
  if (!reference.starts_with('#')) {
    refuse(path,
           fmt::format("\"$ref\" \"{}\" refers to another document, which is not supported.", printable(reference)));
  }
  try {
    return root_.at(ordered_json::json_pointer(reference.substr(1)));
  } catch (const nlohmann::json::exception&) {
    refuse(path, fmt::format("\"$ref\" \"{}\" does not exist in the schema.", printable(reference)));
  }
}

ordered_json JsonSchemaCompiler::resolved(ordered_json schema, const std::string& path) {
  for (std::size_t i = 0; schema.is_object() && schema.contains("$ref"); ++i) {
    if (i == kMaxReferences) refuse(path, "\"$ref\" is circular.");
    if (!schema["$ref"].is_string()) refuse(path, "\"$ref\" must be a string.");
    const ordered_json& referred = target(schema["$ref"].get<std::string>(), path);
    schema.erase("$ref");
    schema = merged(schema, referred, path);
  }
  return schema;
}

JsonSchemaCompiler::Rule JsonSchemaCompiler::rule_of(const ordered_json& schema, const std::string& path) {
  std::string text = dumped_json(schema);
  builder_.spend(2 * text.size());
  const auto [known, added] = rules_.try_emplace(std::move(text), 0);
  if (added) {
    known->second = builder_.new_rule();
    pending_.push_back({known->second, schema, path});
  }
  return known->second;
}

void JsonSchemaCompiler::finish() {
  while (!pending_.empty()) {
    const Pending next = std::move(pending_.front());
    pending_.pop_front();
    compile(next);
  }
}

void JsonSchemaCompiler::check_keywords(const ordered_json& schema, const std::string& path) const {
  for (const auto& [keyword, value] : schema.items()) {
    if (std::ranges::find(kUnsupported, keyword) != kUnsupported.end()) {
      // Values with which these have no effect.
      if (keyword == "additionalItems" && value.is_boolean()) continue;
      if (keyword == "unevaluatedProperties" && value == true) continue;
      if (keyword == "minProperties" && value == 0) continue;
      refuse(path, fmt::format("\"{}\" is not supported.", keyword));
    }
    if (keyword == "uniqueItems" && value != false) refuse(path, "\"uniqueItems\" is not supported.");
  }
}

std::uint64_t JsonSchemaCompiler::count(const ordered_json& schema, const char* keyword,
                                        const std::string& path) const {
  const ordered_json& value = schema.at(keyword);
  if (value.is_number_integer() && value >= 0) return value.get<std::uint64_t>();
  refuse(path, fmt::format("\"{}\" must be a non-negative integer.", keyword));
}

std::vector<std::string> JsonSchemaCompiler::types(const ordered_json& schema, const std::string& path) const {
  static constexpr std::array<std::string_view, 7> kTypes = {"object",  "array",   "string", "number",
                                                             "integer", "boolean", "null"};
  std::vector<std::string> types;
  if (const ordered_json* given = find(schema, "type")) {
    for (const ordered_json& type : given->is_array() ? *given : ordered_json::array({*given})) {
      if (!type.is_string() || std::ranges::find(kTypes, type.get<std::string>()) == kTypes.end()) {
        refuse(path, fmt::format("\"type\" must be one of {}, or a list of them.", fmt::join(kTypes, ", ")));
      }
      types.push_back(type.get<std::string>());
    }
  } else {
    // Keywords that imply a type, where "type" is missing.
    static constexpr std::array<std::pair<const char*, const char*>, 15> kImplied = {
        {{"properties", "object"},
         {"required", "object"},
         {"additionalProperties", "object"},
         {"items", "array"},
         {"prefixItems", "array"},
         {"minItems", "array"},
         {"maxItems", "array"},
         {"pattern", "string"},
         {"format", "string"},
         {"minLength", "string"},
         {"maxLength", "string"},
         {"minimum", "number"},
         {"maximum", "number"},
         {"exclusiveMinimum", "number"},
         {"exclusiveMaximum", "number"}}};
    for (const auto& [keyword, type] : kImplied) {
      if (schema.contains(keyword) && std::ranges::find(types, type) == types.end()) {
        types.emplace_back(type);
      }
    }
    if (types.empty()) types.assign(kTypes.begin(), kTypes.end());
  }
  if (const ordered_json* nullable = find(schema, "nullable"); nullable != nullptr && *nullable == true) {
    types.emplace_back("null");
  }
  std::ranges::sort(types);
  types.erase(std::unique(types.begin(), types.end()), types.end());
  // Every integer is a number.
  if (std::ranges::find(types, "number") != types.end()) std::erase(types, "integer");
  return types;
}

void JsonSchemaCompiler::compile(const Pending& pending) {
  const auto& [rule, schema, path] = pending;
  const State from = builder_.start(rule);
  const State to = builder_.end(rule);
  if (schema == false) return;
  const auto says_something = [](const auto& item) { return is_constraint(item.key()); };
  if (schema == true) {
    builder_.jump(builder_.call(from, json_.value()), to);
    return;
  }
  if (!schema.is_object()) refuse(path, "a schema must be an object, true or false.");
  check_keywords(schema, path);
  if (schema.contains("$ref")) {
    std::size_t constraints = 0;
    for (const auto& item : schema.items()) constraints += says_something(item) ? 1 : 0;
    if (constraints > 1) {
      builder_.jump(builder_.call(from, rule_of(resolved(schema, path), path)), to);
      return;
    }
    if (!schema["$ref"].is_string()) refuse(path, "\"$ref\" must be a string.");
    const std::string reference = schema["$ref"].get<std::string>();
    builder_.jump(builder_.call(from, rule_of(target(reference, path), reference)), to);
    return;
  }
  if (add_alternatives(from, to, schema, path)) return;
  if (schema.contains("enum") || schema.contains("const")) {
    add_values(from, to, schema, path);
    return;
  }
  for (const std::string& type : types(schema, path)) add_type(from, to, type, schema, path);
}

// Adds allOf, anyOf and oneOf.
bool JsonSchemaCompiler::add_alternatives(State from, State to, const ordered_json& schema, const std::string& path) {
  for (const char* keyword : {"allOf", "anyOf", "oneOf"}) {
    const ordered_json* schemas = find(schema, keyword);
    if (schemas == nullptr) continue;
    if (!schemas->is_array() || schemas->empty()) {
      refuse(path, fmt::format("\"{}\" must be a list of schemas.", keyword));
    }
    ordered_json rest = ordered_json::object();
    bool alone = true;
    for (const auto& [key, value] : schema.items()) {
      if (key == keyword || !is_constraint(key)) continue;
      rest[key] = value;
      alone = false;
    }
    const std::string list = child(path, keyword);
    if (keyword == std::string_view("allOf")) {
      ordered_json all = rest.empty() ? ordered_json(true) : rest;
      for (std::size_t i = 0; i < schemas->size(); ++i) {
        const std::string at = fmt::format("{}/{}", list, i);
        if (!(*schemas)[i].is_object() && !(*schemas)[i].is_boolean())
          refuse(at, "a schema must be an object, true or false.");
        all = merged(all, alone && schemas->size() == 1 ? (*schemas)[i] : resolved((*schemas)[i], at), path);
      }
      builder_.jump(builder_.call(from, rule_of(all, path)), to);
      return true;
    }
    const bool nullable = rest.contains("nullable") && rest["nullable"] == true;
    if (nullable) builder_.jump(json_.add_null(from), to);
    rest.erase("nullable");
    alone = rest.empty();
    for (std::size_t i = 0; i < schemas->size(); ++i) {
      const std::string at = fmt::format("{}/{}", list, i);
      const ordered_json& each = (*schemas)[i];
      builder_.jump(builder_.call(from, rule_of(alone ? each : merged(rest, resolved(each, at), at), at)), to);
    }
    return true;
  }
  return false;
}

void JsonSchemaCompiler::add_values(State from, State to, const ordered_json& schema, const std::string& path) {
  ordered_json values = ordered_json::array();
  if (const ordered_json* list = find(schema, "enum")) {
    if (!list->is_array()) refuse(path, "\"enum\" must be a list.");
    values = *list;
  }
  if (const ordered_json* value = find(schema, "const")) {
    if (schema.contains("enum") && std::ranges::find(values, *value) == values.end()) return;
    values = ordered_json::array({*value});
  }
  for (const auto& [keyword, unused] : schema.items()) {
    if (keyword == "enum" || keyword == "const" || keyword == "type" || keyword == "nullable") continue;
    if (is_constraint(keyword) && keyword != "format") {
      static constexpr std::array<std::string_view, 13> kOther = {
          "minimum",  "maximum",  "exclusiveMinimum", "exclusiveMaximum",     "minLength", "maxLength", "pattern",
          "minItems", "maxItems", "properties",       "additionalProperties", "items",     "required"};
      if (std::ranges::find(kOther, keyword) != kOther.end()) {
        refuse(path, fmt::format("\"{}\" beside \"enum\" or \"const\" is not supported.", keyword));
      }
    }
  }
  if (has_binary(values)) refuse(path, "integers beyond 64 bits are not supported.");
  std::vector<std::string> texts;
  const std::vector<std::string> allowed = schema.contains("type") ? types(schema, path) : std::vector<std::string>();
  for (const ordered_json& value : values) {
    const auto fits = [&](const std::string& type) { return has_type(value, type); };
    if (allowed.empty() || std::ranges::any_of(allowed, fits)) texts.push_back(dumped_json(value));
  }
  if (const ordered_json* nullable = find(schema, "nullable"); nullable != nullptr && *nullable == true) {
    texts.emplace_back("null");
  }
  if (!texts.empty()) builder_.jump(add_one_of(builder_, from, std::move(texts)), to);
}

void JsonSchemaCompiler::add_type(State from, State to, const std::string& type, const ordered_json& schema,
                                  const std::string& path) {
  if (type == "object") {
    add_object(from, to, schema, path);
  } else if (type == "array") {
    add_array(from, to, schema, path);
  } else if (type == "string") {
    add_string(from, to, schema, path);
  } else if (type == "number" || type == "integer") {
    add_number(from, to, type == "integer", schema, path);
  } else if (type == "boolean") {
    builder_.jump(json_.add_boolean(from), to);
  } else {
    builder_.jump(json_.add_null(from), to);
  }
}

void JsonSchemaCompiler::add_object(State from, State to, const ordered_json& schema, const std::string& path) {
  struct Property {
    std::string name;
    ordered_json schema;
    bool required = false;
  };
  std::vector<Property> properties;
  if (const ordered_json* listed = find(schema, "properties")) {
    if (!listed->is_object()) refuse(path, "\"properties\" must be an object.");
    for (const auto& [name, value] : listed->items()) properties.push_back({name, value, false});
  }
  const ordered_json* additional = find(schema, "additionalProperties");
  if (additional != nullptr && !additional->is_object() && !additional->is_boolean()) {
    refuse(path, "\"additionalProperties\" must be a schema, true or false.");
  }
  std::vector<std::string> names;
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < properties.size(); ++i) index[properties[i].name] = i;
  if (const ordered_json* required = find(schema, "required")) {
    if (!required->is_array()) refuse(path, "\"required\" must be a list of names.");
    for (const ordered_json& name : *required) {
      if (!name.is_string()) refuse(path, "\"required\" must be a list of names.");
      const auto [known, added] = index.try_emplace(name.get<std::string>(), properties.size());
      if (added) {
        const ordered_json any = true;
        properties.push_back({name.get<std::string>(), additional == nullptr ? any : *additional, false});
      }
      properties[known->second].required = true;
    }
  }
  // Without additionalProperties, other properties are left out, unless none are named at all.
  const ordered_json others = additional != nullptr ? *additional : ordered_json(properties.empty());
  if (properties.empty() && others == true) {
    builder_.jump(builder_.call(from, json_.object()), to);
    return;
  }
  const auto value_path = [&](const Property& property) { return child(child(path, "properties"), property.name); };
  State none = json_.add_white_space(builder_.literal(from, "{"));  // no property yet
  State some = builder_.new_state();                                // at least one property
  for (const Property& property : properties) {
    names.push_back(property.name);
    const State member = builder_.new_state();
    builder_.jump(none, member);
    builder_.jump(json_.add_comma(some), member);
    const State key = builder_.literal(member, dumped_json(property.name));
    const State after = builder_.call(json_.add_colon(key), rule_of(property.schema, value_path(property)));
    const State no_more = builder_.new_state();
    if (!property.required) {
      builder_.jump(none, no_more);
      builder_.jump(some, after);
    }
    none = no_more;
    some = after;
  }
  if (others != false) {
    const State member = builder_.new_state();
    builder_.jump(none, member);
    builder_.jump(json_.add_comma(some), member);
    const State key = json_.add_other_key(member, names);
    const State after = builder_.call(json_.add_colon(key), rule_of(others, child(path, "additionalProperties")));
    builder_.jump(after, some);
  }
  const State last = builder_.new_state();
  builder_.jump(none, last);
  builder_.jump(json_.add_white_space(some), last);
  builder_.jump(builder_.literal(last, "}"), to);
}

void JsonSchemaCompiler::add_array(State from, State to, const ordered_json& schema, const std::string& path) {
  ordered_json prefix = ordered_json::array();
  ordered_json items = true;
  if (const ordered_json* given = find(schema, "items")) {
    // Before 2020-12, a list was the prefix.
    (given->is_array() ? prefix : items) = *given;
    if (given->is_array() && schema.contains("additionalItems")) items = schema["additionalItems"];
  }
  if (const ordered_json* given = find(schema, "prefixItems")) {
    if (!given->is_array()) refuse(path, "\"prefixItems\" must be a list of schemas.");
    prefix = *given;
  }
  const std::uint64_t min = schema.contains("minItems") ? count(schema, "minItems", path) : 0;
  std::optional<std::uint64_t> max;
  if (schema.contains("maxItems")) max = count(schema, "maxItems", path);
  if (items == false) max = std::min<std::uint64_t>(max.value_or(prefix.size()), prefix.size());
  const State first = json_.add_white_space(builder_.literal(from, "["));
  const State last = builder_.new_state();
  if (min == 0) builder_.jump(first, last);
  State at = first;
  const std::uint64_t unrolled = max.value_or(std::max<std::uint64_t>({min, prefix.size(), 1}));
  State after = first;
  const Rule item = rule_of(items, child(path, "items"));
  for (std::uint64_t i = 0; i < unrolled; ++i) {
    if (i != 0) at = json_.add_comma(after);
    const bool in_prefix = i < prefix.size();
    after = builder_.call(at, in_prefix ? rule_of(prefix[i], fmt::format("{}/prefixItems/{}", path, i)) : item);
    if (i + 1 >= min) builder_.jump(json_.add_white_space(after), last);
  }
  if (!max) {
    const State again = builder_.call(json_.add_comma(after), item);
    builder_.jump(again, after);
  }
  builder_.jump(builder_.literal(last, "]"), to);
}

std::string JsonSchemaCompiler::pattern_of(const ordered_json& schema, const std::string& path) const {
  std::string pattern;
  if (const ordered_json* given = find(schema, "pattern")) {
    if (!given->is_string()) refuse(path, "\"pattern\" must be a string.");
    pattern = given->get<std::string>();
  } else if (const ordered_json* format = find(schema, "format"); format != nullptr && format->is_string()) {
    pattern = format_pattern(format->get<std::string>());
  }
  if (!pattern.empty() && (schema.contains("minLength") || schema.contains("maxLength"))) {
    refuse(path, "\"minLength\" and \"maxLength\" beside \"pattern\" or \"format\" are not supported.");
  }
  return pattern;
}

void JsonSchemaCompiler::add_string(State from, State to, const ordered_json& schema, const std::string& path) {
  const std::string pattern = pattern_of(schema, path);
  if (!pattern.empty()) {
    const State open = builder_.literal(from, "\"");
    State text = open;
    try {
      text = add_pattern(builder_, open, pattern, Spelling::kJsonString);
    } catch (const Error& e) {
      refuse(path, e.what());
    }
    builder_.jump(builder_.literal(text, "\""), to);
    return;
  }
  const std::uint64_t min = schema.contains("minLength") ? count(schema, "minLength", path) : 0;
  std::optional<std::uint64_t> max;
  if (schema.contains("maxLength")) max = count(schema, "maxLength", path);
  if (max && *max < min) return;
  const State end = min == 0 && !max ? builder_.call(from, json_.string()) : json_.add_string(from, min, max);
  builder_.jump(end, to);
}

void JsonSchemaCompiler::add_number(State from, State to, bool integer, const ordered_json& schema,
                                    const std::string& path) {
  NumberRange range;
  range.integer = integer;
  const auto read = [&](const char* keyword, const char* exclusive, bool upper,
                        std::optional<NumberRange::Bound>& bound) {
    for (const char* each : {keyword, exclusive}) {
      const ordered_json* value = find(schema, each);
      if (value == nullptr) continue;
      if (value->is_boolean() && each == exclusive) {  // draft 4
        if (bound) bound->exclusive = *value == true;
        continue;
      }
      const std::optional<Decimal> number = decimal(*value);
      if (!number) refuse(path, fmt::format("\"{}\" must be a number.", each));
      const int order = bound ? compare(*number, bound->value) : 0;
      if (!bound || (upper ? order < 0 : order > 0) || order == 0) bound = {*number, each == exclusive};
    }
  };
  read("minimum", "exclusiveMinimum", false, range.min);
  read("maximum", "exclusiveMaximum", true, range.max);
  if (!range.min && !range.max) {
    builder_.jump(builder_.call(from, integer ? json_.integer() : json_.number()), to);
  } else {
    builder_.jump(add_number_in(builder_, from, range), to);
  }
}

bool JsonSchemaCompiler::add_plain_string(State from, State to, const ordered_json& schema, const std::string& path,
                                          char32_t excluded) {
  if (!schema.is_object() || find(schema, "type") == nullptr || schema["type"] != "string") return false;
  if (schema.contains("anyOf") || schema.contains("oneOf") || schema.contains("allOf")) return false;
  check_keywords(schema, path);
  if (schema.contains("enum") || schema.contains("const")) {
    std::vector<std::string> texts;
    const ordered_json values = schema.contains("enum") ? schema["enum"] : ordered_json::array({schema["const"]});
    for (const ordered_json& value : values) {
      if (value.is_string()) texts.push_back(value.get<std::string>());
    }
    if (!texts.empty()) builder_.jump(add_one_of(builder_, from, std::move(texts)), to);
    return true;
  }
  std::string pattern = pattern_of(schema, path);
  if (pattern.empty()) {
    const std::uint64_t min = schema.contains("minLength") ? count(schema, "minLength", path) : 0;
    if (min == 0 && !schema.contains("maxLength")) return false;
    pattern = fmt::format("^[\\s\\S]{{{},{}}}$", min,
                          schema.contains("maxLength") ? fmt::format("{}", count(schema, "maxLength", path)) : "");
  }
  try {
    builder_.jump(add_pattern(builder_, from, pattern, Spelling::kPlain, excluded), to);
  } catch (const Error& e) {
    refuse(path, e.what());
  }
  return true;
}

}  // namespace outrider
