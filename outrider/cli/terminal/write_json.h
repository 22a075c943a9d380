#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace outrider {

// Writes a line of JSON to a file, in its place or, with `append`, behind what is there. Text that is not UTF-8 is
// written with U+FFFD. Throws Error where it cannot.
void write_json(const std::string& path, const nlohmann::ordered_json& json, bool append);

}  // namespace outrider
