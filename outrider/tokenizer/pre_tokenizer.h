#pragma once

#include <deque>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/tokenizer/regex.h"
#include "outrider/tokenizer/tokenizer_json.h"

namespace outrider {

// The pre-tokenizers of a tokenizer.json, which split a text into the pieces that BPE encodes independently.
// ByteLevel's other half, spelling bytes as characters, is left out: Bpe works on bytes.
class PreTokenizer {
 public:
  // Throws Error for an invalid pattern.
  explicit PreTokenizer(std::span<const PreTokenizerSpec> specs);

  // Buffers to reuse between calls, and the storage of pieces that are not part of the input.
  struct Workspace {
    std::vector<std::string_view> pieces;
    std::vector<std::string_view> next;
    std::vector<Regex::Match> matches;
    std::deque<std::string> texts;
    std::stop_token unwanted;  // once stop is requested, split() ends early
  };
  // Splits `text`, which must be well-formed UTF-8, into nonempty pieces; they are valid until the next call with the
  // workspace, and as long as `text`.
  std::span<const std::string_view> split(std::string_view text, Workspace& workspace) const;

 private:
  struct Step {
    Regex regex;
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;
  };
  static void split_piece(std::string_view piece, const Step& step, Workspace& workspace);

  std::vector<Step> before_prefix_;
  bool add_prefix_space_ = false;
  std::vector<Step> after_prefix_;
};

}  // namespace outrider
