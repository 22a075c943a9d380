#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace outrider {

// GPT-2's byte alphabet, in which a byte-level tokenizer.json spells tokens: bytes that are printable in Latin-1
// represent themselves, the other 68 are U+0100 and following, in order.

// The bytes of a token; nothing if a character is not in the alphabet.
std::optional<std::string> bytes_of_token(std::string_view token);
// The character of a byte, as UTF-8.
std::string token_of_byte(std::uint8_t byte);

}  // namespace outrider
