#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "outrider/testing/fuzz_target.h"
#include "outrider/util/encode_path.h"
#include "outrider/util/printable.h"

using outrider::testing::require;

// Any bytes are safe on a terminal once they are printable, and stay as they are then. A path is percent-encoded as one
// that decodes to it.
FUZZ_TARGET(printable) {
  const std::string shown = outrider::printable(input, 4 * input.size());
  require(std::ranges::none_of(shown, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; }));
  require(outrider::printable(shown, shown.size()) == shown);
  require(shown.find("\xc2\x9b") == std::string::npos);  // a C1 control character: the beginning of an escape sequence
  const std::string encoded = outrider::encode_path(input);
  std::string decoded;
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    unsigned byte = static_cast<unsigned char>(encoded[i]);
    require(byte > ' ' && byte < 0x7f && byte != '?' && byte != '#');
    if (byte == '%') {
      require(std::from_chars(encoded.data() + i + 1, encoded.data() + i + 3, byte, 16).ptr == encoded.data() + i + 3);
      i += 2;
    }
    decoded += static_cast<char>(byte);
  }
  require(decoded == input);
}
