#pragma once

#include <string_view>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// Adds any text up to and including the first `mark`, without any of `forbidden` before it. A </think> or ｜DSML｜ at
// the end of `mark` may be a special token.
Automaton::State add_text_until(AutomatonBuilder& builder, Automaton::State from, std::string_view mark,
                                const std::vector<std::string_view>& forbidden);

// Adds prompt markup, in which </think> and ｜DSML｜ may be special tokens.
Automaton::State add_markup(AutomatonBuilder& builder, Automaton::State from, std::string_view text);

}  // namespace outrider
