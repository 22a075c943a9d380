#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "outrider/grammar/automaton/code_points.h"

namespace outrider {

// A parsed grammar in EBNF (see ebnf.h).
struct EbnfGrammar {
  static constexpr std::size_t kNoEnd = std::numeric_limits<std::size_t>::max();

  struct Item;
  using Sequence = std::vector<Item>;
  using Alternatives = std::vector<Sequence>;
  struct RuleName {
    std::size_t rule = 0;  // index in `rules`
  };
  struct Item {
    using Content = std::variant<std::string, std::vector<CodePointRange>, RuleName, Alternatives>;
    Content content;
    std::size_t min = 1;  // repetitions
    std::size_t max = 1;
    std::string_view source;
  };
  struct Rule {
    std::string_view name;
    Alternatives alternatives;
  };

  std::vector<Rule> rules;
  std::size_t root = 0;
};

// The result refers to `text`. Throws Error, naming the line.
EbnfGrammar parse_ebnf(std::string_view text);

}  // namespace outrider
