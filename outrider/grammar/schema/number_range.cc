#include "outrider/grammar/schema/number_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <compare>
#include <map>

namespace outrider {
namespace {

using State = Automaton::State;
using Bound = NumberRange::Bound;

constexpr std::size_t kMaxRangeDigits = 16;

std::strong_ordering compare_magnitudes(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() <=> b.whole.size();
  if (const auto whole = a.whole <=> b.whole; whole != 0) return whole;
  return a.fraction <=> b.fraction;
}

// Adds unsigned numbers from `min` to `max` digit by digit: a state knows whether the digits so far are a prefix of a
// bound's.
class Magnitudes {
 public:
  Magnitudes(AutomatonBuilder& builder, std::optional<Bound> min, std::optional<Bound> max, bool integer, State end)
      : builder_(builder), min_(std::move(min)), max_(std::move(max)), integer_(integer), end_(end) {
    if (min_) fraction_digits_ = std::max(fraction_digits_, min_->value.fraction.size() + 1);
    if (max_) fraction_digits_ = std::max(fraction_digits_, max_->value.fraction.size() + 1);
  }

  void add(State from) {
    std::size_t longest = kMaxRangeDigits;
    if (max_) {
      longest = max_->value.whole.size();
    } else if (min_) {
      longest = std::max(longest, min_->value.whole.size() + 1);
    }
    for (std::size_t length = min_ ? min_->value.whole.size() : 1; length <= longest; ++length) {
      add_whole(from, length);
    }
  }

 private:
  struct Tight {
    bool min = false;
    bool max = false;
    auto operator<=>(const Tight&) const = default;
  };

  void add_whole(State from, std::size_t length) {
    std::map<Tight, State> states = {
        {{min_ && min_->value.whole.size() == length, max_ && max_->value.whole.size() == length}, from}};
    for (std::size_t i = 0; i < length; ++i) {
      const char first = i == 0 && length > 1 ? '1' : '0';
      states =
          next_digit(states, first, min_ ? digit(min_->value.whole, i) : '0', max_ ? digit(max_->value.whole, i) : '9');
    }
    for (const auto& [tight, state] : states) {
      end_at(state, tight, 0);
      if (!integer_) add_fraction(builder_.literal(state, "."), tight);
    }
  }

  void add_fraction(State from, Tight tight) {
    std::map<Tight, State> states = {{tight, from}};
    for (std::size_t i = 0; i < fraction_digits_; ++i) {
      states = next_digit(states, '0', min_ ? digit(min_->value.fraction, i) : '0',
                          max_ ? digit(max_->value.fraction, i) : '9');
      for (const auto& [reached, state] : states) end_at(state, reached, i + 1);
    }
  }

  static char digit(const std::string& digits, std::size_t i) { return i < digits.size() ? digits[i] : '0'; }

  std::map<Tight, State> next_digit(const std::map<Tight, State>& states, char first, char min, char max) {
    std::map<Tight, State> reached;
    for (const auto& [tight, state] : states) {
      const char low = tight.min ? std::max(first, min) : first;
      const char high = tight.max ? max : '9';
      for (char c = low; c <= high; ++c) {
        const Tight next = {tight.min && c == min, tight.max && c == max};
        const auto [found, added] = reached.try_emplace(next, 0);
        if (added) found->second = builder_.new_state();
        builder_.edge(state, static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c), found->second);
      }
    }
    return reached;
  }

  // Ends the number, if it is within the bounds.
  void end_at(State state, Tight tight, std::size_t fraction_digits) {
    if (tight.min) {
      if (min_->value.fraction.size() > fraction_digits || min_->exclusive) return;
    }
    if (tight.max && max_->exclusive && max_->value.fraction.size() <= fraction_digits) return;
    builder_.jump(state, end_);
  }

  AutomatonBuilder& builder_;
  std::optional<Bound> min_;
  std::optional<Bound> max_;
  bool integer_;
  State end_;
  std::size_t fraction_digits_ = kMaxRangeDigits;
};

bool is_zero(const Decimal& value) {
  return value.whole == "0" && value.fraction.empty();
}

}  // namespace

std::optional<Decimal> decimal(const nlohmann::ordered_json& number) {
  if (!number.is_number()) return std::nullopt;
  if (number.is_number_float() && !std::isfinite(number.get<double>())) return std::nullopt;
  std::string text = number.is_number_float() ? fmt::format("{}", number.get<double>()) : number.dump();
  Decimal value;
  if (text.starts_with('-')) {
    value.negative = true;
    text.erase(0, 1);
  }
  int exponent = 0;
  if (const std::size_t e = text.find('e'); e != std::string::npos) {
    const char* digits = text.data() + e + 1;
    std::from_chars(*digits == '+' ? digits + 1 : digits, text.data() + text.size(), exponent);
    text.erase(e);
  }
  std::size_t point = text.find('.');
  if (point == std::string::npos) {
    point = text.size();
  } else {
    text.erase(point, 1);
  }
  auto whole = static_cast<std::ptrdiff_t>(point) + exponent;
  if (whole < 0) {
    text.insert(0, static_cast<std::size_t>(-whole), '0');
    whole = 0;
  }
  if (static_cast<std::size_t>(whole) > text.size()) text.append(static_cast<std::size_t>(whole) - text.size(), '0');
  value.whole = text.substr(0, static_cast<std::size_t>(whole));
  value.fraction = text.substr(static_cast<std::size_t>(whole));
  value.whole.erase(0, value.whole.find_first_not_of('0'));
  if (value.whole.empty()) value.whole = "0";
  value.fraction.erase(value.fraction.find_last_not_of('0') + 1);
  if (is_zero(value)) value.negative = false;
  return value;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  const auto order = compare_magnitudes(a, b);
  const int sign = order < 0 ? -1 : order > 0 ? 1 : 0;
  return a.negative ? -sign : sign;
}

State add_number_in(AutomatonBuilder& builder, State from, const NumberRange& range) {
  const State end = builder.new_state();
  const auto negated = [](Bound bound) {
    bound.value.negative = false;
    return bound;
  };
  if (!range.max || (!range.max->value.negative && !(is_zero(range.max->value) && range.max->exclusive))) {
    const bool below_zero = range.min && range.min->value.negative;
    Magnitudes(builder, below_zero ? std::nullopt : range.min, range.max, range.integer, end).add(from);
  }
  if (!range.min || range.min->value.negative) {
    // Zero needs no sign.
    std::optional<Bound> min = Bound{*decimal(0), true};
    if (range.max && range.max->value.negative) min = negated(*range.max);
    std::optional<Bound> max;
    if (range.min) max = negated(*range.min);
    Magnitudes(builder, min, max, range.integer, end).add(builder.literal(from, "-"));
  }
  return end;
}

}  // namespace outrider
