#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outrider/grammar/automaton/automaton.h"

namespace outrider {

// The parts of JSON (RFC 8259), as rules and pieces of an automaton.
class JsonText {
 public:
  using State = Automaton::State;
  using Rule = Automaton::Rule;

  explicit JsonText(AutomatonBuilder& builder) : builder_(&builder) {}

  Rule white_space();
  Rule value();
  Rule object();
  Rule array();
  Rule string();
  Rule number();
  Rule integer();
  State add_boolean(State from);
  State add_null(State from);

  // A string of `least` to `most` characters.
  State add_string(State from, std::uint64_t least, std::optional<std::uint64_t> most);
  // A key of an object but those of `excluded`, written without \u and \/, so that none of them can be spelled.
  State add_other_key(State from, const std::vector<std::string>& excluded);
  // "," and what may stand behind it; ":" likewise.
  State add_comma(State from);
  State add_colon(State from);
  State add_white_space(State from) { return builder_->call(from, white_space()); }
  State add_digits(State from, std::size_t least, std::size_t most);

 private:
  // One character of a string, escapes included.
  void add_character(State from, State to);
  void add_hex(State from, std::string_view digits, State to);
  // "[" or "{", members with commas between, and the end.
  template <typename Member>
  void add_members(Rule rule, char open, char close, const Member& add_member);

  AutomatonBuilder* builder_;
  std::optional<Rule> white_space_;
  std::optional<Rule> value_;
  std::optional<Rule> object_;
  std::optional<Rule> array_;
  std::optional<Rule> string_;
  std::optional<Rule> number_;
  std::optional<Rule> integer_;
};

}  // namespace outrider
