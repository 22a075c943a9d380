#pragma once

#include <string_view>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/automaton/code_points.h"

namespace outrider {

// The texts in which a regular expression finds a match (ECMA-262, as JSON Schema's `pattern` is): literals, `.`,
// classes, \d \w \s and their complements, groups, |, * + ? {n,m}, and ^ $ at the ends of the expression or of its
// alternatives. Without `excluded`, a character that must not occur (0: none). Throws Error, naming the construct, for
// anything else, and for expressions that come to too many states.
Automaton::State add_pattern(AutomatonBuilder& builder, Automaton::State from, std::string_view pattern,
                             Spelling spelling, char32_t excluded = 0);

// The expression of a `format` of JSON Schema; empty where the format asks for nothing here.
std::string_view format_pattern(std::string_view format);

}  // namespace outrider
