#include "outrider/util/printable.h"

#include <fmt/format.h>
#include <simdjson.h>

namespace outrider {
namespace {

// The length of the well-formed UTF-8 sequence at the front of `text`, 0 if there is none.
std::size_t sequence_length(std::string_view text) {
  for (std::size_t length = 1; length <= 4 && length <= text.size(); ++length) {
    if (simdjson::validate_utf8(text.data(), length)) return length;
  }
  return 0;
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (out.size() >= limit) return out + "…";
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x20 && byte < 0x7f) {
      out += text[i++];
      continue;
    }
    const std::size_t length = byte < 0x80 ? 0 : sequence_length(text.substr(i));
    // U+0080…U+009F are control characters too.
    if (length == 0 || (length == 2 && byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0)) {
      out += fmt::format("\\x{:02x}", byte);
      ++i;
    } else {
      out.append(text.substr(i, length));
      i += length;
    }
  }
  return out;
}

}  // namespace outrider
