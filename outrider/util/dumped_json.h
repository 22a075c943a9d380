#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace outrider {

// JSON on one line; bytes that are not UTF-8 become U+FFFD.
inline std::string dumped_json(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace outrider
