#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace outrider {

// Parses JSON from an untrusted file: nesting beyond 64 levels and repeated keys within one object are refused. Throws
// Error, whose message begins with `where`.
nlohmann::json parse_bounded_json(std::string_view text, const std::string& where);

}  // namespace outrider
