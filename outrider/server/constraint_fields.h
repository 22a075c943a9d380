#pragma once

#include <array>
#include <string_view>

#include "outrider/grammar/grammar.h"
#include "outrider/server/fields.h"

namespace outrider {

// The fields of completions and chats that constrain the output: OpenAI's, vLLM's, those of vLLM before 0.12, and
// llama.cpp's.
inline constexpr std::array<std::string_view, 8> kConstraintFields = {
    "response_format", "structured_outputs", "guided_json", "guided_regex",
    "guided_choice",   "guided_grammar",     "json_schema", "grammar"};

// Reads them, and of chats also tools, tool_choice and parallel_tool_calls. Throws ApiError naming the field, also if
// the request has more than one constraint.
MessageShape read_constraint(const Fields& request, bool chat);

}  // namespace outrider
