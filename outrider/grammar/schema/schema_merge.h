#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace outrider {

// Merges two schemas into one that requires both. `where`: the place in messages. Throws Error, naming the keyword, if
// they cannot be written as one schema.
nlohmann::ordered_json merge_schemas(const nlohmann::ordered_json& a, const nlohmann::ordered_json& b,
                                     const std::string& where);

// Whether a keyword constrains values, rather than being an annotation.
bool is_constraint(const std::string& keyword);

}  // namespace outrider
