#pragma once

#include <string_view>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// Adds the texts of a grammar in EBNF, as in llama.cpp (GBNF) and XGrammar: rules `name ::= alternatives`, of which
// `root` is the start; alternatives separated by |; items "…", [a-z], [^a-z], . (any character), names of rules and
// groups in (); repetitions * + ? {n} {n,} {n,m}; comments from # to the end of the line.
//
// A rule may begin with itself (`sum ::= sum "+" term | term`), but not through another rule or an item that may be
// empty. Throws Error, naming the line or the rule, for anything else, and for grammars that are too large.
Automaton::State add_ebnf(AutomatonBuilder& builder, Automaton::State from, std::string_view grammar);

}  // namespace outrider
