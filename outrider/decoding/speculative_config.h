#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

struct SpeculativeConfig {
  std::size_t num_speculative_tokens = 1;
  std::vector<std::string> notes;  // sentences on fields that change nothing here
};

// vLLM's --speculative-config: {"method": "mtp", "num_speculative_tokens": 1}. Fields that name what is done, or that
// concern what is not here (processors, kernels, downloads), are taken. Throws Error, which names the field, for what
// is no JSON object, another method, a number out of range, a field whose value asks for what is not done, and one that
// is not known. `model_path`: the only value that "model" may have.
SpeculativeConfig parse_speculative_config(std::string_view json, std::string_view model_path);

}  // namespace outrider
