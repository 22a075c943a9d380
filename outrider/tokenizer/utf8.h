#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace outrider {

// Reads the code point at `at` and advances `at`. `text` must be well-formed UTF-8.
char32_t next_code_point(std::string_view text, std::size_t& at);
void append_code_point(std::string& out, char32_t code_point);

// Appends `bytes` to `out`, with U+FFFD for each maximal subpart that is not UTF-8 (Unicode 3.9, "U+FFFD Substitution
// of Maximal Subparts", as Rust's from_utf8_lossy and Python's errors="replace"). If `bytes` ends within a code point
// that more bytes could complete, those bytes are left out and their number (0 to 3) is returned.
std::size_t append_utf8_lossy(std::string& out, std::string_view bytes);

// U+FFFD.
inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

// Unicode's White_Space, as matched by Oniguruma's and Rust's \s.
bool is_white_space(char32_t code_point);

}  // namespace outrider
