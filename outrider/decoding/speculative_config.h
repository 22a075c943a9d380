#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace outrider {

// vLLM's --speculative-config, as far as it says how to draft.
struct SpeculativeConfig {
  std::string method;                      // a row of drafter_methods.cc; empty: the checkpoint's own
  std::size_t num_speculative_tokens = 0;  // at most kMaxSpeculativeTokens; 0: no speculation
  // Of "ngram": how many of the last tokens are looked up.
  std::size_t prompt_lookup_min = 5;
  std::size_t prompt_lookup_max = 5;
};

// Reads {"method": "mtp", "num_speculative_tokens": 1} or {"method": "ngram", "num_speculative_tokens": 3,
// "prompt_lookup_min": 2, "prompt_lookup_max": 4}. Fields of vLLM's that name what is done, or that concern what is not
// here (processors, kernels, downloads), are accepted; `note` is told of each that has no effect. Throws Error, which
// names the field, for what is no JSON object, another method, a number out of range, a field whose value asks for what
// is not done, and one that is not known. `model_path`: the only value that "model" may have, but for "ngram".
SpeculativeConfig parse_speculative_config(std::string_view json, std::string_view model_path,
                                           const std::function<void(const std::string&)>& note);

}  // namespace outrider
