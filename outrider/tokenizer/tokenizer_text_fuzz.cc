#include <string>
#include <string_view>

#include "outrider/testing/bundled_model.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/tokenizer/tokenizer.h"
#include "outrider/tokenizer/utf8.h"

using outrider::testing::require;

// Any text is encoded to ids that decode to it, at once and in a stream; without special tokens in text, none of them
// is one.
FUZZ_TARGET(tokenizer_text) {
  const outrider::Tokenizer& tokenizer = outrider::testing::bundled_tokenizer();
  std::string text;
  if (outrider::append_utf8_lossy(text, input) != 0) text += outrider::kReplacementCharacter;
  for (const bool special : {true, false}) {
    const auto ids = tokenizer.encode(input, {.add_special_tokens = false, .special_tokens_in_text = special});
    require(tokenizer.min_tokens(input.size()) <= ids.size());
    std::string streamed;
    outrider::StreamDecoder stream(tokenizer, false);
    for (const outrider::TokenId id : ids) {
      require(id < tokenizer.id_limit() && (special || !tokenizer.is_special(id)));
      streamed += stream.push(id);
    }
    streamed += stream.flush();
    require(tokenizer.decode(ids, false) == text && streamed == text);
  }
}
