#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// Code points [first, last].
struct CodePointRange {
  char32_t first = 0;
  char32_t last = 0;
};
inline constexpr char32_t kMaxCodePoint = 0x10FFFF;

// How a text's characters are written.
enum class Spelling {
  kPlain,       // as they are
  kJsonString,  // as between the quotes of a JSON string: quotes, backslashes and control characters escaped
};

// Sorted, without overlap, without surrogates.
std::vector<CodePointRange> normalized(std::vector<CodePointRange> ranges);
// All others.
std::vector<CodePointRange> complement(const std::vector<CodePointRange>& ranges);

// One character of `range` between `from` and `to`. In JSON, of several characters those that have no short escape and
// would need \u are left out.
void add_code_points(AutomatonBuilder& builder, Automaton::State from, CodePointRange range, Automaton::State to,
                     Spelling spelling);
// A text as it is written; its JSON spelling has the short escapes where there are some.
std::string spelled(std::string_view text, Spelling spelling);
Automaton::State add_text(AutomatonBuilder& builder, Automaton::State from, std::string_view text, Spelling spelling);
// One of some texts, as they stand here.
Automaton::State add_one_of(AutomatonBuilder& builder, Automaton::State from, std::vector<std::string> texts);

}  // namespace outrider
