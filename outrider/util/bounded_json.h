#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace outrider {

// Advice for files of a checkpoint.
inline constexpr std::string_view kRestoreTheFile = " Restore the file from the checkpoint's source.";

// Parses JSON from an untrusted source: rejects nesting beyond 64 levels and repeated keys in one object. Throws Error,
// whose message begins with `where` and ends with `advice`.
nlohmann::json parse_bounded_json(std::string_view text, const std::string& where, std::string_view advice = {});

}  // namespace outrider
