#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/schema/json_text.h"

namespace outrider {

// A decimal number without exponent: digits before and behind the point, without zeros that say nothing.
struct Decimal {
  bool negative = false;
  std::string whole;     // "0" where there is nothing before the point
  std::string fraction;  // may be empty
};

// A JSON number as a decimal. Nothing for what is no number.
std::optional<Decimal> decimal(const nlohmann::ordered_json& number);
// -1, 0, 1 as a is less than, equal to or greater than b.
int compare(const Decimal& a, const Decimal& b);

struct NumberRange {
  struct Bound {
    Decimal value;
    bool exclusive = false;
  };
  std::optional<Bound> least;
  std::optional<Bound> most;
  bool integer = false;
};

// The numbers of a range, without exponent, with as many digits before the point as their bounds have or 16, and with
// 16 or one more than their bounds behind.
Automaton::State add_number_in(AutomatonBuilder& builder, Automaton::State from, const NumberRange& range);

}  // namespace outrider
