#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace outrider {

// GPT-2's spelling of bytes as printable characters, in which a byte-level tokenizer.json writes its tokens: the bytes
// that are printable in Latin-1 stand for themselves, the other 68 are U+0100 and following, in order.

// The bytes that `token` spells; nothing where a character of it is none of the 256.
std::optional<std::string> bytes_of_token(std::string_view token);
// The one character, as UTF-8, that stands for `byte`.
std::string token_of_byte(std::uint8_t byte);

}  // namespace outrider
