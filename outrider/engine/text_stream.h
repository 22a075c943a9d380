#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

struct TextStreamOptions {
  std::vector<std::string> stop;  // must not contain empty strings
  bool include_stop = false;      // the output includes the stop string
  bool skip_special_tokens = true;
  std::vector<TokenId> kept_special_tokens = {};  // exempt from skip_special_tokens and hide_markers
  bool hide_markers = false;                      // never emit tokens that are markup of prompts (markup::is_marker)
  std::uint64_t min_tokens = 0;                   // stop strings must end after so many tokens
};

// Decodes a stream of tokens to text, up to the first stop string. Text that may be the beginning of a stop string is
// held back. Stop strings are found in hidden markers too. The tokenizer must outlive it.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, TextStreamOptions options);

  // Returns the text that is certain after `token`; nothing once stopped_by() is set.
  std::string push(TokenId token);
  // Ends the stream and returns the text that was held back.
  std::string finish();
  const std::optional<std::string>& stopped_by() const { return stopped_by_; }

 private:
  std::string take(std::size_t bytes);

  const Tokenizer& tokenizer_;
  StreamDecoder decoder_;
  TextStreamOptions options_;
  std::string held_;
  std::string hidden_;       // a byte for each byte of held_: whether it belongs to a hidden marker
  std::size_t settled_ = 0;  // no stop string may end in so many bytes of held_
  std::uint64_t pushed_ = 0;
  std::optional<std::string> stopped_by_;
};

}  // namespace outrider
