#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace outrider {

// Maximum number of drafts if it is chosen automatically.
inline constexpr std::size_t kAutomaticTokens = 4;

// The fields of vLLM's --speculative-config that determine how to draft.
struct SpeculativeConfig {
  std::string method;                      // a row of drafter_methods.cc; empty: the checkpoint's own drafter
  std::size_t num_speculative_tokens = 0;  // at most kMaxSpeculativeTokens; 0: no speculation
  bool automatic = false;                  // up to so many, as draft_policy.h chooses
  // For "ngram": lengths of the n-grams to look up.
  std::size_t prompt_lookup_min = 5;
  std::size_t prompt_lookup_max = 5;
};

// Parses {"method": "mtp", "num_speculative_tokens": 1} or {"method": "ngram", "num_speculative_tokens": 3,
// "prompt_lookup_min": 2, "prompt_lookup_max": 4}. Fields of vLLM's that describe Outrider's behaviour, or that do not
// apply to it (devices, kernels, downloads), are accepted; `note` is called for each field that has no effect. Throws
// Error, naming the field, if the text is not a JSON object, the method is not supported, a number is out of range, a
// value asks for unsupported behaviour, or a field is unknown. `model_path`: the only value that "model" may have,
// except for "ngram".
SpeculativeConfig parse_speculative_config(std::string_view json, std::string_view model_path,
                                           const std::function<void(const std::string&)>& note);

}  // namespace outrider
