#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace outrider {

// Writes one line of JSON to a file, replacing or, with `append`, extending it. Invalid UTF-8 is written as U+FFFD.
// Throws Error if the file cannot be written.
void write_json(const std::string& path, const nlohmann::ordered_json& json, bool append);

}  // namespace outrider
