#include "outrider/grammar/schema/schema_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "outrider/grammar/schema/number_range.h"
#include "outrider/util/dumped_json.h"
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

std::unordered_set<std::string> texts_of(const ordered_json& list) {
  std::unordered_set<std::string> texts;
  for (const ordered_json& value : list) texts.insert(dumped_json(value));
  return texts;
}

// The values in both lists, in the order of `a`.
ordered_json values_of_both(const ordered_json& a, const ordered_json& b) {
  ordered_json both = ordered_json::array();
  const std::unordered_set<std::string> texts = texts_of(b);
  for (const ordered_json& value : a) {
    if (texts.contains(dumped_json(value))) both.push_back(value);
  }
  return both;
}

ordered_json values_of_either(ordered_json a, const ordered_json& b) {
  std::unordered_set<std::string> texts = texts_of(a);
  for (const ordered_json& value : b) {
    if (texts.insert(dumped_json(value)).second) a.push_back(value);
  }
  return a;
}

ordered_json types_of_both(const ordered_json& a, const ordered_json& b) {
  const auto with_integer = [](const ordered_json& types) {
    ordered_json list = as_list(types);
    if (contains(list, "number") && !contains(list, "integer")) list.push_back("integer");
    return list;
  };
  ordered_json both = values_of_both(with_integer(a), with_integer(b));
  if (contains(both, "number")) both.erase(std::remove(both.begin(), both.end(), "integer"), both.end());
  return both;
}

// A schema that requires both.
ordered_json all_of(ordered_json a, const ordered_json& b) {
  if (a == b) return a;
  // Extends one that was built here before, so that nesting does not grow with the number of schemas.
  const bool merged = a.is_object() && a.size() == 1 && a.contains("allOf") && a["allOf"].is_array();
  if (!merged) a = {{"allOf", ordered_json::array({std::move(a)})}};
  a["allOf"].push_back(b);
  return a;
}

ordered_json properties_of_both(ordered_json a, const ordered_json& b) {
  std::unordered_map<std::string, std::size_t> places;
  std::size_t place = 0;
  for (const auto& [name, unused] : a.items()) places.emplace(name, place++);
  ordered_json::object_t::Container& members = a.get_ref<ordered_json::object_t&>();
  for (const auto& [name, schema] : b.items()) {
    const auto [there, added] = places.emplace(name, members.size());
    if (added) {
      members.emplace_back(name, schema);
    } else {
      ordered_json& merged = members[there->second].second;
      merged = all_of(std::move(merged), schema);
    }
  }
  return a;
}

// The greater of two lower bounds; the lesser of two upper bounds.
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
  if (keyword == "properties" && a.is_object() && b.is_object()) return properties_of_both(a, b);
  if (keyword == "required" && a.is_array() && b.is_array()) return values_of_either(a, b);
  if (keyword == "enum" && a.is_array() && b.is_array()) return values_of_both(a, b);
  if (keyword == "items" && !a.is_array() && !b.is_array()) return all_of(a, b);
  if (keyword == "nullable") return false;
  throw Error(
      fmt::format("{}: \"{}\" in several schemas that must all be satisfied is not supported.", where, keyword));
}

// additionalProperties applies only to the properties beside it.
void refuse_cut_properties(const ordered_json& closed, const ordered_json& other, const std::string& where) {
  if (!closed.contains("additionalProperties") || closed["additionalProperties"] == true) return;
  if (!other.contains("properties") || !other["properties"].is_object()) return;
  std::unordered_set<std::string> names;
  if (closed.contains("properties")) {
    for (const auto& [name, unused] : closed["properties"].items()) names.insert(name);
  }
  for (const auto& [name, unused] : other["properties"].items()) {
    if (names.contains(name)) continue;
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
  if (!a.is_object() || !b.is_object())
    throw Error(fmt::format("{}: a schema must be an object, true or false.", where));
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
