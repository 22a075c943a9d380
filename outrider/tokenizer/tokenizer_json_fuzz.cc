#include <string>
#include <string_view>

#include "outrider/testing/fuzz_target.h"
#include "outrider/tokenizer/tokenizer.h"

using outrider::testing::require;

// Any tokenizer.json either fails with an Error or encodes any text to ids that it has, and decodes them in a stream as
// it decodes them at once. The text follows the first byte 0, and tokenizer_config.json the second.
FUZZ_TARGET(tokenizer_json) {
  const auto [json, rest] = outrider::testing::split_at_zero(input, "Ab 1é\n\t 中<think>");
  const auto [text, config] = outrider::testing::split_at_zero(rest);
  const outrider::Tokenizer tokenizer = outrider::Tokenizer::parse(json, config);
  std::string streamed;
  outrider::StreamDecoder stream(tokenizer, false);
  const auto ids = tokenizer.encode(text.substr(0, 4096));
  for (const outrider::TokenId id : ids) {
    require(id < (1U << 24));
    streamed += stream.push(id);
  }
  streamed += stream.flush();
  require(streamed == tokenizer.decode(ids, false));
}
