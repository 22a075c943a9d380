#include "outrider/tokenizer/byte_alphabet.h"

#include <array>

#include "outrider/tokenizer/utf8.h"

namespace outrider {
namespace {

struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<std::int16_t, 256 + 68> byte{};  // by character; -1: none

  Alphabet() {
    byte.fill(-1);
    char32_t next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
      character[b] = printable ? static_cast<char32_t>(b) : next++;
      byte[character[b]] = static_cast<std::int16_t>(b);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

std::optional<std::string> bytes_of_token(std::string_view token) {
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const char32_t c = next_code_point(token, at);
    if (c >= alphabet().byte.size() || alphabet().byte[c] < 0) return std::nullopt;
    bytes += static_cast<char>(static_cast<unsigned char>(alphabet().byte[c]));
  }
  return bytes;
}

std::string token_of_byte(std::uint8_t byte) {
  std::string token;
  append_code_point(token, alphabet().character[byte]);
  return token;
}

}  // namespace outrider
