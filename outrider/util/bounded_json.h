#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace outrider {

// For files of a checkpoint.
inline constexpr std::string_view kRestoreTheFile = " Restore the file from where the checkpoint came from.";

// Parses JSON from an untrusted source: nesting beyond 64 levels and repeated keys within one object are refused.
// Throws Error, whose message begins with `where` and ends with `advice`.
nlohmann::json parse_bounded_json(std::string_view text, const std::string& where, std::string_view advice = {});

}  // namespace outrider
