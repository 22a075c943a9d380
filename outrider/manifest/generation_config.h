#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace outrider {

// The ids of eos_token_id, a number or a list, in the text of a generation_config.json or config.json: tokens that end
// a text. Empty where the field is not there. Throws Error, whose message begins with `where`, for what is no JSON
// object and for ids that are none.
std::vector<std::uint32_t> eos_token_ids(std::string_view json, std::string_view where);

}  // namespace outrider
