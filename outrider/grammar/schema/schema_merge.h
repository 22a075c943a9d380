#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace outrider {

// A schema that is satisfied by what satisfies both. `where` is what messages call the place. Throws Error, naming the
// keyword, for what cannot be written as one schema.
nlohmann::ordered_json merge_schemas(const nlohmann::ordered_json& a, const nlohmann::ordered_json& b,
                                     const std::string& where);

// Whether a keyword says something of what is valid, and is not just a remark.
bool is_constraint(const std::string& keyword);

}  // namespace outrider
