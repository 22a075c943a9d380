#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/schema/json_text.h"

namespace outrider {

// Adds calls of `functions` in DSML, the markup of DeepSeek-V4's tool calls, as the release's encoder writes them: one,
// or with `several` any number. A function has "name" and, as a JSON Schema, "parameters". Throws Error as
// Grammar::message does.
Automaton::State add_tool_calls(AutomatonBuilder& builder, JsonText& json, Automaton::State from,
                                const std::vector<nlohmann::ordered_json>& functions, bool several);

}  // namespace outrider
