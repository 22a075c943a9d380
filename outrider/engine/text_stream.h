#pragma once

#include <optional>
#include <string>
#include <vector>

#include "outrider/tokenizer/tokenizer.h"

namespace outrider {

struct TextStreamOptions {
  std::vector<std::string> stop;  // none of them empty
  bool include_stop = false;      // the text goes to the end of the stop string, not to its beginning
  bool skip_special_tokens = true;
  std::vector<TokenId> kept_special_tokens;  // that are not skipped
};

// The text of a stream of tokens, up to the first stop string. Text that may be the beginning of one waits. The
// tokenizer must outlive it.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, TextStreamOptions options);

  // The text that `token` makes certain. Nothing comes after stopped_by() tells.
  std::string push(TokenId token);
  // At the end of the tokens: what waited.
  std::string finish();
  const std::optional<std::string>& stopped_by() const { return stopped_by_; }

 private:
  std::string take(std::size_t bytes);

  const Tokenizer& tokenizer_;
  StreamDecoder decoder_;
  TextStreamOptions options_;
  std::string held_;
  std::optional<std::string> stopped_by_;
};

}  // namespace outrider
