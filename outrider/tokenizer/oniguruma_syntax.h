#pragma once

#include <string>
#include <string_view>

namespace outrider {

// Rewrites a regular expression that the `tokenizers` package would give to Oniguruma (ONIG_SYNTAX_ONIGURUMA, UTF-8,
// Unicode 16) so that PCRE2 (PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, newline LF) finds the same matches. What differs
// and is rewritten: \s \w \d \h \v \b and POSIX brackets, \p names, characters newer than PCRE2's Unicode, nested
// classes and &&, (?m), the reach of (?i), {n,m}+, {n}? and {,m}. Groups are not captured.
//
// Throws Error, naming the construct, for what has no translation: \X, \K, \G and other escapes that Oniguruma alone
// has, back references, calls, conditions, (?x), && within (?i), properties and scripts other than those of the table
// there, nesting beyond 64 levels. Known differences: (?i) does not match one character with several, as "ss" with "ß";
// U+1171E is Mn, not Mc.
std::string oniguruma_to_pcre2(std::string_view pattern);

// `text` as an expression that matches it literally.
std::string quoted_for_pcre2(std::string_view text);

}  // namespace outrider
