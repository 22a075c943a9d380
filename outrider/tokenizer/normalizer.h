#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/tokenizer/regex.h"
#include "outrider/tokenizer/tokenizer_json.h"

namespace outrider {

// The normalizers of a tokenizer.json, in order. NFC, NFD, NFKC and NFKD are those of Unicode 9, as in the `tokenizers`
// package; newer characters are left unchanged.
class Normalizer {
 public:
  // Throws Error for an invalid pattern.
  explicit Normalizer(std::span<const NormalizerSpec> specs);

  bool empty() const { return steps_.empty(); }
  // `text` must be well-formed UTF-8. Throws Error if it would become many times longer.
  std::string normalize(std::string_view text) const;

 private:
  struct Step {
    NormalizerSpec spec;
    std::vector<Regex> regex;  // of a Replace: one
  };
  std::vector<Step> steps_;
};

}  // namespace outrider
