#pragma once

#include <nlohmann/json.hpp>

// nlohmann's destructor of arrays and objects allocates (a stack, against deep nesting), so a program that runs out of
// memory ends in it. These do not. Every value that is parsed here is nested 64 levels deep at most.
//
// Part of the precompiled headers, so that all of the library's code has it.
namespace nlohmann {

template <>
void json::json_value::destroy(detail::value_t type);
template <>
void ordered_json::json_value::destroy(detail::value_t type);

}  // namespace nlohmann
