#pragma once

#include <string_view>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// Any text up to the first `mark`, which is a part of it, without any of `forbidden` before. Where `mark` ends in
// </think> or ｜DSML｜, that may be a special token.
Automaton::State add_text_until(AutomatonBuilder& builder, Automaton::State from, std::string_view mark,
                                const std::vector<std::string_view>& forbidden);

// Markup of the prompt, `text`, in which </think> and ｜DSML｜ may be special tokens.
Automaton::State add_markup(AutomatonBuilder& builder, Automaton::State from, std::string_view text);

}  // namespace outrider
