#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace outrider {

// DeepSeek's encoder writes JSON into prompts with Python's json module; these functions do the same.

// Like json.loads: keys keep their order; of a repeated key, the first position and the last value are used; integers
// of any size are kept (those beyond 64 bits as binary values that hold their digits). Throws Error, prefixed with
// `where`, for invalid JSON, for NaN and Infinity, and for nesting beyond 128 levels.
nlohmann::ordered_json parse_python_json(std::string_view text, const std::string& where);

// Like json.dumps(value, ensure_ascii=False): separators ", " and ": ", floats as repr() writes them.
std::string python_json(const nlohmann::ordered_json& value);
std::string python_json_string(std::string_view text);

}  // namespace outrider
