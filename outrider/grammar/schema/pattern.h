#pragma once

#include <string_view>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/automaton/code_points.h"

namespace outrider {

// Adds the texts in which a regular expression finds a match (ECMA-262, as in JSON Schema's `pattern`): literals, `.`,
// classes, \d \w \s and their complements, groups, |, * + ? {n,m}, and ^ $ at the ends of the expression or of its
// alternatives. `excluded`: a character that must not occur (0: none). Throws Error, naming the construct, for anything
// else, and for expressions with too many states.
Automaton::State add_pattern(AutomatonBuilder& builder, Automaton::State from, std::string_view pattern,
                             Spelling spelling, char32_t excluded = 0);
// Adds the texts that such a regular expression matches as a whole. Python's (?P<name>…) is a group, too.
Automaton::State add_regex(AutomatonBuilder& builder, Automaton::State from, std::string_view regex);

// The regular expression of a JSON Schema `format`; empty if the format is not constrained.
std::string_view format_pattern(std::string_view format);

}  // namespace outrider
