#include "outrider/grammar/schema/json_text.h"

#include <algorithm>
#include <map>
#include <utility>

#include "outrider/grammar/automaton/code_points.h"
#include "outrider/tokenizer/utf8.h"

namespace outrider {
namespace {

constexpr std::size_t kMaxLineFeeds = 2;
constexpr std::size_t kMaxIndentation = 20;
constexpr std::size_t kMaxDigits = 16;
constexpr std::size_t kMaxExponentDigits = 2;

}  // namespace

// Nothing, one space, or line feeds and an indentation: bounded, since a model may otherwise generate blanks forever.
JsonText::Rule JsonText::white_space() {
  if (white_space_) return *white_space_;
  white_space_ = builder_->new_rule();
  const State start = builder_->start(*white_space_);
  const State end = builder_->end(*white_space_);
  builder_->jump(start, end);
  if (compact_) return *white_space_;
  builder_->edge(start, ' ', ' ', end);
  std::vector<State> indented = {builder_->new_state()};
  State line = start;
  for (std::size_t i = 0; i < kMaxLineFeeds; ++i) {
    const State next = builder_->new_state();
    builder_->edge(line, '\n', '\n', next);
    builder_->jump(next, indented[0]);
    line = next;
  }
  for (std::size_t i = 0; i <= kMaxIndentation; ++i) {
    builder_->jump(indented[i], end);
    if (i == kMaxIndentation) break;
    indented.push_back(builder_->new_state());
    builder_->edge(indented[i], ' ', ' ', indented[i + 1]);
    builder_->edge(indented[i], '\t', '\t', indented[i + 1]);
  }
  return *white_space_;
}

JsonText::State JsonText::add_comma(State from) {
  return add_white_space(builder_->literal(from, ","));
}

JsonText::State JsonText::add_colon(State from) {
  return add_white_space(builder_->literal(from, ":"));
}

JsonText::Rule JsonText::value() {
  if (value_) return *value_;
  value_ = builder_->new_rule();
  const State start = builder_->start(*value_);
  const State end = builder_->end(*value_);
  for (const Rule rule : {object(), array(), string(), number()}) builder_->jump(builder_->call(start, rule), end);
  builder_->jump(add_boolean(start), end);
  builder_->jump(add_null(start), end);
  return *value_;
}

template <typename Member>
void JsonText::add_members(Rule rule, char open, char close, const Member& add_member) {
  const State first = add_white_space(builder_->literal(builder_->start(rule), {&open, 1}));
  const State member = builder_->new_state();
  builder_->jump(first, member);
  const State after = add_member(member);
  builder_->jump(add_comma(after), member);
  const State last = builder_->new_state();
  builder_->jump(first, last);
  builder_->jump(add_white_space(after), last);
  builder_->jump(builder_->literal(last, {&close, 1}), builder_->end(rule));
}

JsonText::Rule JsonText::object() {
  if (object_) return *object_;
  object_ = builder_->new_rule();
  add_members(*object_, '{', '}',
              [&](State from) { return builder_->call(add_colon(builder_->call(from, string())), value()); });
  return *object_;
}

JsonText::Rule JsonText::array() {
  if (array_) return *array_;
  array_ = builder_->new_rule();
  add_members(*array_, '[', ']', [&](State from) { return builder_->call(from, value()); });
  return *array_;
}

void JsonText::add_hex(State from, std::string_view digits, State to) {
  for (const char digit : digits) {
    builder_->edge(from, static_cast<std::uint8_t>(digit), static_cast<std::uint8_t>(digit), to);
  }
}

void JsonText::add_character(State from, State to) {
  add_code_points(*builder_, from, {0x20, 0x21}, to, Spelling::kPlain);
  add_code_points(*builder_, from, {0x23, 0x5B}, to, Spelling::kPlain);
  add_code_points(*builder_, from, {0x5D, kMaxCodePoint}, to, Spelling::kPlain);
  const State escape = builder_->literal(from, "\\");
  add_hex(escape, "\"\\/bfnrt", to);
  // \uXXXX, with surrogates only in pairs.
  constexpr std::string_view kHex = "0123456789abcdefABCDEF";
  const State u = builder_->literal(escape, "u");
  const State three = builder_->new_state();
  const State two = builder_->new_state();
  const State one = builder_->new_state();
  add_hex(u, "0123456789abcefABCEF", three);
  add_hex(three, kHex, two);
  add_hex(two, kHex, one);
  add_hex(one, kHex, to);
  const State d = builder_->new_state();
  add_hex(u, "dD", d);
  add_hex(d, "01234567", two);
  const State high_two = builder_->new_state();
  const State high_one = builder_->new_state();
  const State high = builder_->new_state();
  add_hex(d, "89abAB", high_two);
  add_hex(high_two, kHex, high_one);
  add_hex(high_one, kHex, high);
  const State low = builder_->literal(high, "\\u");
  const State low_d = builder_->new_state();
  add_hex(low, "dD", low_d);
  add_hex(low_d, "cdefCDEF", two);
}

JsonText::Rule JsonText::string() {
  if (string_) return *string_;
  string_ = builder_->new_rule();
  builder_->jump(add_string(builder_->start(*string_), 0, std::nullopt), builder_->end(*string_));
  return *string_;
}

JsonText::State JsonText::add_string(State from, std::uint64_t min, std::optional<std::uint64_t> max) {
  State at = builder_->literal(from, "\"");
  const State last = builder_->new_state();
  for (std::uint64_t i = 0; !max || i < *max; ++i) {
    if (i >= min) builder_->jump(at, last);
    if (i >= min && !max) {
      add_character(at, at);
      return builder_->literal(last, "\"");
    }
    const State next = builder_->new_state();
    add_character(at, next);
    at = next;
  }
  builder_->jump(at, last);
  return builder_->literal(last, "\"");
}

JsonText::State JsonText::add_other_key(State from, const std::vector<std::string>& excluded) {
  // The excluded keys as a trie.
  struct Beginning {
    State state = 0;
    bool whole = false;
    std::map<char32_t, std::size_t> longer;
  };
  std::vector<Beginning> beginnings = {{builder_->new_state(), false, {}}};
  for (const std::string& key : excluded) {
    std::size_t node = 0;
    for (std::size_t at = 0; at < key.size();) {
      const char32_t c = next_code_point(key, at);
      const auto [longer, added] = beginnings[node].longer.try_emplace(c, beginnings.size());
      node = longer->second;
      if (added) beginnings.push_back({builder_->new_state(), false, {}});
    }
    beginnings[node].whole = true;
  }
  const State end = builder_->new_state();
  const State other = builder_->new_state();  // not a prefix of an excluded key
  add_code_points(*builder_, other, {0, kMaxCodePoint}, other, Spelling::kJsonString);
  builder_->jump(other, end);
  builder_->jump(builder_->literal(from, "\""), beginnings[0].state);
  for (const Beginning& beginning : beginnings) {
    std::vector<CodePointRange> continued;
    for (const auto& [c, longer] : beginning.longer) {
      continued.push_back({c, c});
      add_code_points(*builder_, beginning.state, {c, c}, beginnings[longer].state, Spelling::kJsonString);
    }
    for (const CodePointRange& range : complement(continued)) {
      add_code_points(*builder_, beginning.state, range, other, Spelling::kJsonString);
    }
    if (!beginning.whole) builder_->jump(beginning.state, end);
  }
  return builder_->literal(end, "\"");
}

JsonText::State JsonText::add_digits(State from, std::size_t min, std::size_t max) {
  const State end = builder_->new_state();
  for (std::size_t i = 0; i < max; ++i) {
    if (i >= min) builder_->jump(from, end);
    const State next = builder_->new_state();
    builder_->edge(from, '0', '9', next);
    from = next;
  }
  builder_->jump(from, end);
  return end;
}

JsonText::Rule JsonText::integer() {
  if (integer_) return *integer_;
  integer_ = builder_->new_rule();
  const State start = builder_->start(*integer_);
  const State digits = builder_->new_state();
  builder_->jump(start, digits);
  builder_->jump(builder_->literal(start, "-"), digits);
  builder_->jump(builder_->literal(digits, "0"), builder_->end(*integer_));
  const State more = builder_->new_state();
  builder_->edge(digits, '1', '9', more);
  builder_->jump(add_digits(more, 0, kMaxDigits - 1), builder_->end(*integer_));
  return *integer_;
}

JsonText::Rule JsonText::number() {
  if (number_) return *number_;
  number_ = builder_->new_rule();
  const State end = builder_->end(*number_);
  const State whole = builder_->call(builder_->start(*number_), integer());
  const State fraction = builder_->new_state();
  builder_->jump(whole, fraction);
  builder_->jump(add_digits(builder_->literal(whole, "."), 1, kMaxDigits), fraction);
  builder_->jump(fraction, end);
  const State exponent = builder_->new_state();
  builder_->edge(fraction, 'e', 'e', exponent);
  builder_->edge(fraction, 'E', 'E', exponent);
  const State sign = builder_->new_state();
  builder_->jump(exponent, sign);
  builder_->edge(exponent, '+', '+', sign);
  builder_->edge(exponent, '-', '-', sign);
  builder_->jump(add_digits(sign, 1, kMaxExponentDigits), end);
  return *number_;
}

JsonText::State JsonText::add_boolean(State from) {
  return add_one_of(*builder_, from, {"true", "false"});
}

JsonText::State JsonText::add_null(State from) {
  return builder_->literal(from, "null");
}

}  // namespace outrider
