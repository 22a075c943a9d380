#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "outrider/grammar/automaton/code_points.h"

namespace outrider {

// A nondeterministic automaton over code points. State 0 is the start.
struct PatternNfa {
  struct Edge {
    CodePointRange range;
    std::size_t to = 0;
  };
  struct State {
    std::vector<Edge> edges;
    std::vector<std::size_t> jumps;
  };
  std::vector<State> states;
  std::size_t end = 0;
  std::size_t steps = 0;  // cost of parsing
};

// What a regular expression must match.
enum class PatternMatch {
  kAnywhere,  // a part of the text, as JSON Schema's `pattern`
  kWhole,     // the whole text
};

// Parses a regular expression (see pattern.h). Throws Error.
PatternNfa parse_pattern(std::string_view pattern, PatternMatch match);

}  // namespace outrider
