#include "outrider/grammar/schema_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "outrider/grammar/number_range.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

ordered_json as_list(const ordered_json& value) {
  return value.is_array() ? value : ordered_json::array({value});
}

bool contains(const ordered_json& list, const ordered_json& value) {
  return std::ranges::find(list, value) != list.end();
}

ordered_json types_of_both(const ordered_json& a, const ordered_json& b) {
  ordered_json both = ordered_json::array();
  const ordered_json left = as_list(a);
  const ordered_json right = as_list(b);
  for (const ordered_json& type : left) {
    if (contains(right, type) || (type == "integer" && contains(right, "number"))) both.push_back(type);
    if (type == "number" && !contains(right, type) && contains(right, "integer")) both.push_back("integer");
  }
  return both;
}

// A lower bound of both is the greater one; an upper bound the lesser.
std::optional<ordered_json> tighter(const std::string& keyword, const ordered_json& a, const ordered_json& b) {
  constexpr std::array<std::string_view, 4> kLower = {"minimum", "exclusiveMinimum", "minLength", "minItems"};
  constexpr std::array<std::string_view, 4> kUpper = {"maximum", "exclusiveMaximum", "maxLength", "maxItems"};
  const bool lower = std::ranges::find(kLower, keyword) != kLower.end();
  if (!lower && std::ranges::find(kUpper, keyword) == kUpper.end()) return std::nullopt;
  const auto left = decimal(a);
  const auto right = decimal(b);
  if (!left || !right) return std::nullopt;
  return (compare(*left, *right) < 0) == lower ? b : a;
}

ordered_json merge_keyword(const std::string& keyword, const ordered_json& a, const ordered_json& b,
                           const std::string& where) {
  if (a == b || !is_constraint(keyword)) return a;
  if (const auto bound = tighter(keyword, a, b)) return *bound;
  if (keyword == "type") return types_of_both(a, b);
  if (keyword == "properties" && a.is_object() && b.is_object()) {
    ordered_json merged = a;
    for (const auto& [name, schema] : b.items()) {
      const auto there = merged.find(name);
      merged[name] = there == merged.end() || *there == schema
                         ? schema
                         : ordered_json{{"allOf", ordered_json::array({*there, schema})}};
    }
    return merged;
  }
  if (keyword == "required" && a.is_array() && b.is_array()) {
    ordered_json merged = a;
    for (const ordered_json& name : b) {
      if (!contains(merged, name)) merged.push_back(name);
    }
    return merged;
  }
  if (keyword == "enum" && a.is_array() && b.is_array()) {
    ordered_json merged = ordered_json::array();
    for (const ordered_json& value : a) {
      if (contains(b, value)) merged.push_back(value);
    }
    return merged;
  }
  if (keyword == "items" && !a.is_array() && !b.is_array()) return {{"allOf", ordered_json::array({a, b})}};
  if (keyword == "nullable") return false;
  throw Error(fmt::format("{}: \"{}\" stands in several schemas that all must be satisfied, which is not supported.",
                          where, keyword));
}

// additionalProperties speaks of the properties beside it only.
void refuse_cut_properties(const ordered_json& closed, const ordered_json& other, const std::string& where) {
  if (!closed.contains("additionalProperties") || closed["additionalProperties"] == true) return;
  if (!other.contains("properties") || !other["properties"].is_object()) return;
  for (const auto& [name, unused] : other["properties"].items()) {
    if (closed.contains("properties") && closed["properties"].contains(name)) continue;
    throw Error(fmt::format(
        "{}: \"additionalProperties\" beside schemas with properties of their own is not supported.", where));
  }
}

}  // namespace

bool is_constraint(const std::string& keyword) {
  constexpr std::array<std::string_view, 14> kRemarks = {
      "title",    "description", "default",     "examples",   "example",  "$schema",   "$id",
      "$comment", "$defs",       "definitions", "deprecated", "readOnly", "writeOnly", "discriminator"};
  return std::ranges::find(kRemarks, keyword) == kRemarks.end();
}

ordered_json merge_schemas(const ordered_json& a, const ordered_json& b, const std::string& where) {
  if (a == false || b == false) return false;
  if (a == true) return b;
  if (b == true) return a;
  if (!a.is_object() || !b.is_object()) throw Error(fmt::format("{}: a schema is an object, true or false.", where));
  refuse_cut_properties(a, b, where);
  refuse_cut_properties(b, a, where);
  ordered_json merged = a;
  for (const auto& [keyword, value] : b.items()) {
    const auto there = a.find(keyword);
    merged[keyword] = there == a.end() ? value : merge_keyword(keyword, *there, value, where);
  }
  return merged;
}

}  // namespace outrider
