#pragma once

#include <cstddef>
#include <string_view>

namespace outrider {

// vLLM's --speculative-config: {"method": "mtp", "num_speculative_tokens": 1}. Returns num_speculative_tokens. Throws
// Error for what is no JSON object, for a method that is not "mtp" (or "deepseek_mtp"), for a number out of range, and
// for fields that are not known, which it names.
std::size_t parse_speculative_config(std::string_view json);

}  // namespace outrider
