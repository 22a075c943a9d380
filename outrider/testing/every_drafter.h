#pragma once

#include <cstddef>
#include <string>

#include "outrider/decoding/decoder.h"

namespace outrider::testing {

// The methods that tests of speculation run over.
inline constexpr const char* kEveryDrafter[] = {"mtp", "dspark", "ngram"};

// The variant whose model a method drafts for (tests/model/golden.h).
inline std::string model_of(const std::string& method) {
  return method == "dspark" ? "dspark" : "official";
}

// N-grams are short, so that they are found often.
inline SpeculativeConfig speculative_config(const std::string& method, std::size_t num_speculative_tokens) {
  return {.method = method,
          .num_speculative_tokens = num_speculative_tokens,
          .prompt_lookup_min = 1,
          .prompt_lookup_max = 3};
}

inline Decoder make_decoder(const Model& model, const std::string& method, std::size_t num_speculative_tokens,
                            std::size_t chunk = 512) {
  return {model, {speculative_config(method, num_speculative_tokens), chunk}};
}

}  // namespace outrider::testing
