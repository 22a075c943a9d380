#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/tokenizer/regex.h"
#include "outrider/tokenizer/tokenizer_json.h"

namespace outrider {

// The normalizers of a tokenizer.json in order. NFC, NFD, NFKC and NFKD are those of Unicode 9, whose tables the
// `tokenizers` package carries; characters that came later stay as they are.
class Normalizer {
 public:
  // Throws Error for an invalid pattern.
  explicit Normalizer(std::span<const NormalizerSpec> specs);

  bool empty() const { return steps_.empty(); }
  // `text` is well-formed UTF-8. Throws Error where it would become many times as long.
  std::string normalize(std::string_view text) const;

 private:
  struct Step {
    NormalizerSpec spec;
    std::vector<Regex> regex;  // one, of a Replace
  };
  std::vector<Step> steps_;
};

}  // namespace outrider
