#include "outrider/grammar/ebnf/ebnf_parser.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "outrider/tokenizer/utf8.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::size_t kMaxGrammarBytes = std::size_t{256} << 10;
constexpr std::size_t kMaxGroups = 64;  // nested
constexpr std::size_t kMaxRepetitions = 10'000;

bool in_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

class EbnfParser {
 public:
  explicit EbnfParser(std::string_view text) : text_(text) {
    if (text.size() > kMaxGrammarBytes) {
      throw Error(fmt::format("the grammar has {} bytes; the maximum is {}.", text.size(), kMaxGrammarBytes));
    }
    if (!simdjson::validate_utf8(text.data(), text.size())) throw Error("the grammar is not valid UTF-8.");
  }

  EbnfGrammar parse() {
    if (text_.find("::=") == std::string_view::npos) {
      throw Error(
          "the grammar has no rule \"name ::= …\"; grammars are read in EBNF as of llama.cpp and XGrammar, not in "
          "Lark's syntax.");
    }
    for (skip_blanks(); more(); skip_blanks()) rule();
    for (const auto& [name, index] : indices_) {
      if (!defined_[index]) {
        refuse(fmt::format("the rule \"{}\" is not defined", printable(name)),
               static_cast<std::size_t>(name.data() - text_.data()));
      }
    }
    const auto root = indices_.find("root");
    if (root == indices_.end()) throw Error("the grammar has no rule \"root\", with which the output begins.");
    grammar_.root = root->second;
    return std::move(grammar_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what, std::size_t at) const {
    throw Error(fmt::format("line {}: {}.", 1 + std::ranges::count(text_.substr(0, at), '\n'), what));
  }
  [[noreturn]] void refuse(const std::string& what) const { refuse(what, at_); }
  std::string next_shown() const {
    if (!more()) return "the end";
    std::size_t end = at_;
    next_code_point(text_, end);
    return fmt::format("\"{}\"", printable(text_.substr(at_, end - at_)));
  }

  bool more() const { return at_ < text_.size(); }
  bool next_is(char c) const { return more() && text_[at_] == c; }
  bool accept(char c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }
  bool accept(std::string_view token) {
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  void skip_blanks() {
    for (; more(); ++at_) {
      if (text_[at_] == '#') at_ = std::min(text_.find_first_of("\r\n", at_), text_.size());
      if (!more() || std::string_view(" \t\r\n").find(text_[at_]) == std::string_view::npos) return;
    }
  }
  std::string_view name() {
    const std::size_t begin = at_;
    while (more() && in_name(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  // Whether the next rule begins here, which ends the one before.
  bool rule_begins() {
    const std::size_t begin = at_;
    const bool named = !name().empty();
    skip_blanks();
    const bool begins = named && text_.substr(at_).starts_with("::=");
    at_ = begin;
    return begins;
  }

  std::size_t index_of(std::string_view name) {
    const auto [known, added] = indices_.try_emplace(name, grammar_.rules.size());
    if (added) {
      grammar_.rules.push_back({name, {}});
      defined_.push_back(false);
    }
    return known->second;
  }

  void rule() {
    const std::size_t begin = at_;
    if (!rule_begins()) refuse(fmt::format("expected a rule, \"name ::= …\", before {}", next_shown()));
    const std::string_view named = name();
    const std::size_t index = index_of(named);
    if (defined_[index]) refuse(fmt::format("the rule \"{}\" is defined twice", printable(named)), begin);
    defined_[index] = true;
    skip_blanks();
    accept("::=");
    EbnfGrammar::Alternatives read = alternatives(0);
    grammar_.rules[index].alternatives = std::move(read);
    if (more() && !rule_begins()) refuse(fmt::format("unexpected {}", next_shown()));
  }

  EbnfGrammar::Alternatives alternatives(std::size_t depth) {
    EbnfGrammar::Alternatives all;
    do {
      all.emplace_back();
      for (skip_blanks(); more() && !next_is('|') && !next_is(')') && !rule_begins(); skip_blanks()) {
        all.back().push_back(repeated(depth));
      }
    } while (accept('|'));
    return all;
  }

  EbnfGrammar::Item repeated(std::size_t depth) {
    const std::size_t begin = at_;
    EbnfGrammar::Item item;
    item.content = single(depth);
    std::size_t end = at_;
    skip_blanks();
    if (repetition(item.min, item.max)) {
      end = at_;
      skip_blanks();
      if (std::size_t unused = 0; repetition(unused, unused)) refuse("a repetition is repeated; write (…) around it");
    }
    at_ = end;
    item.source = text_.substr(begin, end - begin);
    return item;
  }

  bool repetition(std::size_t& min, std::size_t& max) {
    if (accept('*')) {
      min = 0;
      max = EbnfGrammar::kNoEnd;
    } else if (accept('+')) {
      max = EbnfGrammar::kNoEnd;
    } else if (accept('?')) {
      min = 0;
    } else if (accept('{')) {
      counts(min, max);
    } else {
      return false;
    }
    return true;
  }

  // Reads n}, n,} or n,m}.
  void counts(std::size_t& min, std::size_t& max) {
    const std::optional<std::size_t> first = number();
    std::optional<std::size_t> last = first;
    if (first && accept(',')) last = number();
    if (!first || !accept('}')) refuse("expected a count {n}, {n,} or {n,m}");
    min = *first;
    max = last.value_or(EbnfGrammar::kNoEnd);
    if (max < min) refuse("a count has a maximum less than its minimum");
  }

  std::optional<std::size_t> number() {
    std::optional<std::size_t> value;
    for (skip_blanks(); more() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = value.value_or(0) * 10 + static_cast<std::size_t>(text_[at_] - '0');
      if (*value > kMaxRepetitions) refuse(fmt::format("a count is more than {}", kMaxRepetitions));
    }
    skip_blanks();
    return value;
  }

  EbnfGrammar::Item::Content single(std::size_t depth) {
    const std::size_t begin = at_;
    if (accept('"')) return literal('"', begin);
    if (accept('\'')) return literal('\'', begin);
    if (accept('[')) return set(begin);
    if (accept('.')) return complement({});
    if (accept('(')) {
      if (next_is('=')) refuse("lookahead, (=…), is not supported");
      if (depth == kMaxGroups) refuse(fmt::format("groups are nested more than {} deep", kMaxGroups));
      EbnfGrammar::Alternatives group = alternatives(depth + 1);
      if (!accept(')')) refuse("a group without \")\"", begin);
      return group;
    }
    if (const std::string_view named = name(); !named.empty()) return EbnfGrammar::RuleName{index_of(named)};
    if (next_is('<') || next_is('!')) refuse("tokens, <…>, are not supported; write their text in quotes");
    refuse(fmt::format("unexpected {}", next_shown()));
  }

  std::string literal(char quote, std::size_t begin) {
    std::string bytes;
    while (!accept(quote)) {
      if (!more()) refuse("a string without closing quote", begin);
      append_code_point(bytes, character());
    }
    return bytes;
  }

  std::vector<CodePointRange> set(std::size_t begin) {
    const bool negated = accept('^');
    std::vector<CodePointRange> ranges;
    while (!accept(']')) {
      if (!more()) refuse("a class without \"]\"", begin);
      if (accept("\\d")) {
        ranges.push_back({'0', '9'});
      } else if (accept("\\w")) {
        ranges.insert(ranges.end(), {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
      } else if (accept("\\s")) {
        ranges.insert(ranges.end(), {{'\t', '\r'}, {' ', ' '}});
      } else {
        CodePointRange range;
        range.first = range.last = character();
        if (next_is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
          ++at_;
          range.last = character();
        }
        if (range.last < range.first) refuse("a range of characters ends before it begins");
        ranges.push_back(range);
      }
    }
    if (ranges.empty()) refuse("an empty class; write . for any character", begin);
    return negated ? complement(ranges) : normalized(std::move(ranges));
  }

  // Reads a character of a string or class.
  char32_t character() {
    if (!accept('\\')) return next_code_point(text_, at_);
    if (!more()) refuse("a backslash at the end");
    static constexpr std::array<std::pair<char, char32_t>, 9> kNamed = {{{'n', U'\n'},
                                                                         {'r', U'\r'},
                                                                         {'t', U'\t'},
                                                                         {'f', U'\f'},
                                                                         {'v', U'\v'},
                                                                         {'b', U'\b'},
                                                                         {'a', U'\a'},
                                                                         {'e', 0x1B},
                                                                         {'0', 0}}};
    const auto* named = std::ranges::find(kNamed, text_[at_], &std::pair<char, char32_t>::first);
    if (named != kNamed.end()) {
      ++at_;
      return named->second;
    }
    if (accept('x')) return hexadecimal(2);
    if (accept('u')) return hexadecimal(4);
    if (accept('U')) return hexadecimal(8);
    if (in_name(text_[at_]) && text_[at_] != '_' && text_[at_] != '-') {
      refuse(fmt::format("\"\\{}\" is not supported", text_[at_]));
    }
    return next_code_point(text_, at_);
  }

  char32_t hexadecimal(std::size_t digits) {
    char32_t value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = more() ? text_[at_] : ' ';
      const auto lower = static_cast<char>(c | 0x20);
      if (c >= '0' && c <= '9') {
        value = value * 16 + static_cast<char32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + static_cast<char32_t>(lower - 'a' + 10);
      } else {
        refuse(fmt::format("an escape without {} hexadecimal digits", digits));
      }
      ++at_;
    }
    if (value > kMaxCodePoint || (value >= 0xD800 && value <= 0xDFFF)) {
      refuse(fmt::format("{:X} is not a character of Unicode", static_cast<std::uint32_t>(value)));
    }
    return value;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  EbnfGrammar grammar_;
  std::vector<bool> defined_;
  std::map<std::string_view, std::size_t> indices_;
};

}  // namespace

EbnfGrammar parse_ebnf(std::string_view text) {
  return EbnfParser(text).parse();
}

}  // namespace outrider
