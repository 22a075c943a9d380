#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// The code points [first, last].
struct CodePointRange {
  char32_t first = 0;
  char32_t last = 0;
};
inline constexpr char32_t kMaxCodePoint = 0x10FFFF;

// How characters are encoded.
enum class Spelling {
  kPlain,       // as they are
  kJsonString,  // as in a JSON string: quotes, backslashes and control characters escaped
};

// Sorts ranges, merges overlapping ones and removes surrogates.
std::vector<CodePointRange> normalized(std::vector<CodePointRange> ranges);
// All other code points.
std::vector<CodePointRange> complement(const std::vector<CodePointRange>& ranges);

// Adds one character of `range` between `from` and `to`. In JSON, a range of several characters leaves out those that
// need a \u escape.
void add_code_points(AutomatonBuilder& builder, Automaton::State from, CodePointRange range, Automaton::State to,
                     Spelling spelling);
// Encodes a text; JSON uses short escapes where they exist.
std::string spelled(std::string_view text, Spelling spelling);
Automaton::State add_text(AutomatonBuilder& builder, Automaton::State from, std::string_view text, Spelling spelling);
// Adds alternatives of literal strings.
Automaton::State add_one_of(AutomatonBuilder& builder, Automaton::State from, std::vector<std::string> texts);

}  // namespace outrider
