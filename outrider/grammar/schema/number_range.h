#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "outrider/grammar/automaton/automaton.h"
#include "outrider/grammar/schema/json_text.h"

namespace outrider {

// A decimal number without exponent: the digits before and after the point, without redundant zeros.
struct Decimal {
  bool negative = false;
  std::string whole;     // "0" if there is nothing before the point
  std::string fraction;  // may be empty
};

// Converts a JSON number to a decimal. Nothing if it is not a number.
std::optional<Decimal> decimal(const nlohmann::ordered_json& number);
// -1, 0 or 1 if a is less than, equal to or greater than b.
int compare(const Decimal& a, const Decimal& b);

struct NumberRange {
  struct Bound {
    Decimal value;
    bool exclusive = false;
  };
  std::optional<Bound> min;
  std::optional<Bound> max;
  bool integer = false;
};

// Adds the numbers of a range, without exponent: before the point as many digits as the bounds have, else 16; after it
// 16, or one more than the bounds have.
Automaton::State add_number_in(AutomatonBuilder& builder, Automaton::State from, const NumberRange& range);

}  // namespace outrider
