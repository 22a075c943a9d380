#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "outrider/tokenizer/tokenizer.h"
#include "outrider/util/error.h"

// Any tokenizer.json either fails with an Error or encodes any text to ids that it has, and decodes them in a stream as
// it decodes them at once. The text follows the first byte 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = input.find('\0');
  try {
    const outrider::Tokenizer tokenizer = outrider::Tokenizer::parse(input.substr(0, zero));
    const std::string_view text = zero == std::string_view::npos ? "Ab 1é\n\t 中<think>" : input.substr(zero + 1);
    std::string streamed;
    outrider::StreamDecoder stream(tokenizer, false);
    const auto ids = tokenizer.encode(text.substr(0, 4096));
    for (const outrider::TokenId id : ids) {
      if (id >= (1U << 24)) std::abort();
      streamed += stream.push(id);
    }
    streamed += stream.flush();
    if (streamed != tokenizer.decode(ids, false)) std::abort();
  } catch (const outrider::Error&) {
  }
  return 0;
}
