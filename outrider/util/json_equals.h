#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

// nlohmann compares a value with a literal by making a value of the literal, which allocates, in a function that must
// not throw. These are found first.
namespace nlohmann {

inline bool operator==(const json& value, const char* text) {
  const auto* const own = value.get_ptr<const std::string*>();
  return own != nullptr && *own == std::string_view(text);
}
inline bool operator!=(const json& value, const char* text) {
  return !(value == text);
}
inline bool operator==(const ordered_json& value, const char* text) {
  const auto* const own = value.get_ptr<const std::string*>();
  return own != nullptr && *own == std::string_view(text);
}
inline bool operator!=(const ordered_json& value, const char* text) {
  return !(value == text);
}

}  // namespace nlohmann
