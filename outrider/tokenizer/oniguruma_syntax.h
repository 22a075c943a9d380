#pragma once

#include <string>
#include <string_view>

namespace outrider {

// Translates a regular expression of the `tokenizers` package (ONIG_SYNTAX_ONIGURUMA, UTF-8, Unicode 16) to PCRE2
// (PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, newline LF) with the same matches. Rewritten are: \s \w \d \h \v \b and
// POSIX brackets, \p names, characters newer than PCRE2's Unicode, nested classes and &&, (?m), the scope of (?i),
// {n,m}+, {n}? and {,m}. Groups are not captured.
//
// Throws Error, naming the construct, for what cannot be translated: \X, \K, \G and other escapes that only Oniguruma
// has, back references, calls, conditions, (?x), && under (?i), properties and scripts that are not in the table in the
// source, nesting beyond 64 levels. Known differences: (?i) does not match one character with several, such as "ss"
// with "ß"; U+1171E is Mn, not Mc.
std::string oniguruma_to_pcre2(std::string_view pattern);

// Escapes `text` so that it matches literally.
std::string quoted_for_pcre2(std::string_view text);

}  // namespace outrider
