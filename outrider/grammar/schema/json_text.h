#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// The elements of JSON (RFC 8259), as rules and pieces of an automaton.
class JsonText {
 public:
  using State = Automaton::State;
  using Rule = Automaton::Rule;

  // `compact`: without white space.
  explicit JsonText(AutomatonBuilder& builder, bool compact = false) : builder_(&builder), compact_(compact) {}

  Rule white_space();
  Rule value();
  Rule object();
  Rule array();
  Rule string();
  Rule number();
  Rule integer();
  State add_boolean(State from);
  State add_null(State from);

  // Adds a string of `min` to `max` characters.
  State add_string(State from, std::uint64_t min, std::optional<std::uint64_t> max);
  // Adds an object key other than `excluded`, without \u and \/ escapes, so that it cannot encode one of them.
  State add_other_key(State from, const std::vector<std::string>& excluded);
  // Adds "," or ":" with the white space allowed after it.
  State add_comma(State from);
  State add_colon(State from);
  State add_white_space(State from) { return builder_->call(from, white_space()); }
  State add_digits(State from, std::size_t min, std::size_t max);

 private:
  // Adds one character of a string, escapes included.
  void add_character(State from, State to);
  void add_hex(State from, std::string_view digits, State to);
  // Adds "[" or "{", members separated by commas, and the end.
  template <typename Member>
  void add_members(Rule rule, char open, char close, const Member& add_member);

  AutomatonBuilder* builder_;
  bool compact_;
  std::optional<Rule> white_space_;
  std::optional<Rule> value_;
  std::optional<Rule> object_;
  std::optional<Rule> array_;
  std::optional<Rule> string_;
  std::optional<Rule> number_;
  std::optional<Rule> integer_;
};

}  // namespace outrider
