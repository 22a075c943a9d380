#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace outrider {

// Parses the ids of eos_token_id, a number or a list, in a generation_config.json or config.json: tokens that end the
// output. Empty if the field is missing. Throws Error, whose message begins with `where`, if the text is not a JSON
// object or an id is invalid.
std::vector<std::uint32_t> eos_token_ids(std::string_view json, std::string_view where);

}  // namespace outrider
