#include "outrider/grammar/schema/pattern_parser.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "outrider/tokenizer/utf8.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr std::size_t kMaxStates = 20'000;
constexpr std::size_t kMaxSteps = 1'000'000;  // states created and characters read, including discarded copies
constexpr std::size_t kMaxNesting = 64;
constexpr std::size_t kMaxCount = 10'000;
constexpr std::size_t kNoEnd = std::numeric_limits<std::size_t>::max();

const std::vector<CodePointRange> kDigits = {{'0', '9'}};
const std::vector<CodePointRange> kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const std::vector<CodePointRange> kBlanks = {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680},
                                             {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                             {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const std::vector<CodePointRange> kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

class Parser {
 public:
  Parser(std::string_view pattern, PatternMatch match) : pattern_(pattern), whole_(match == PatternMatch::kWhole) {
    if (!simdjson::validate_utf8(pattern.data(), pattern.size())) {
      throw Error(fmt::format("{} is not valid UTF-8.", name()));
    }
    for (std::size_t at = 0; at < pattern.size();) text_.push_back(next_code_point(pattern, at));
  }

  PatternNfa parse() {
    const std::size_t start = add_state();
    const std::size_t end = add_state();
    // Alternatives of the whole expression have their own anchors.
    do {
      std::size_t from = start;
      if (accept('^') || whole_) {
        from = add_state();
        nfa_.states[start].jumps.push_back(from);
      } else {
        from = add_anything(start);
      }
      std::size_t to = sequence(from, 0);
      if (!accept('$') && !whole_) to = add_anything(to);
      nfa_.states[to].jumps.push_back(end);
    } while (accept('|'));
    if (at_ != text_.size()) refuse(fmt::format("an unmatched \"{}\"", shown(text_[at_])));
    nfa_.end = end;
    return std::move(nfa_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(fmt::format("{} \"{}\": {} is not supported.", name(), printable(pattern_), what));
  }
  static std::string shown(char32_t c) {
    std::string text;
    append_code_point(text, c);
    return printable(text);
  }

  const char* name() const { return whole_ ? "the regular expression" : "\"pattern\""; }
  [[noreturn]] void refuse_size() const {
    throw Error(fmt::format("{} has too many states; make it simpler.", name()));
  }
  // Counts the work of parsing, which is repeated for each copy.
  void count() {
    if (++nfa_.steps > kMaxSteps) refuse_size();
  }

  bool more() const { return at_ < text_.size(); }
  bool next_is(char32_t c) const { return more() && text_[at_] == c; }
  bool accept(char32_t c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }

  std::size_t add_state() {
    count();
    if (nfa_.states.size() == kMaxStates) refuse_size();
    nfa_.states.emplace_back();
    return nfa_.states.size() - 1;
  }
  std::size_t add_set(std::size_t from, const std::vector<CodePointRange>& set) {
    const std::size_t to = add_state();
    for (const CodePointRange& range : set) nfa_.states[from].edges.push_back({range, to});
    return to;
  }
  std::size_t add_anything(std::size_t from) {
    const std::size_t loop = add_state();
    nfa_.states[from].jumps.push_back(loop);
    for (const CodePointRange& range : complement({})) nfa_.states[loop].edges.push_back({range, loop});
    return loop;
  }

  std::size_t alternatives(std::size_t from, std::size_t depth) {
    const std::size_t end = add_state();
    do {
      const std::size_t begin = add_state();
      nfa_.states[from].jumps.push_back(begin);
      nfa_.states[sequence(begin, depth)].jumps.push_back(end);
    } while (accept('|'));
    return end;
  }

  std::size_t sequence(std::size_t from, std::size_t depth) {
    while (more() && !next_is('|') && !next_is(')') && !next_is('$')) from = repeated(from, depth);
    return from;
  }

  // Parses an atom and its repetition. The atom is parsed again for each copy.
  std::size_t repeated(std::size_t from, std::size_t depth) {
    const std::size_t begin = at_;
    const std::size_t states = nfa_.states.size();
    const std::size_t once_from = add_state();
    nfa_.states[from].jumps.push_back(once_from);
    const std::size_t once = atom(once_from, depth);
    std::size_t min = 1;
    std::size_t max = 1;
    if (accept('*')) {
      min = 0;
      max = kNoEnd;
    } else if (accept('+')) {
      max = kNoEnd;
    } else if (accept('?')) {
      min = 0;
    } else if (!counts(min, max)) {
      return once;
    }
    accept('?');  // lazy matching does not change the language
    if (next_is('*') || next_is('+') || next_is('?')) refuse("a repetition of a repetition");
    const std::size_t after = at_;
    // Discards the first copy.
    nfa_.states.resize(states);
    nfa_.states[from].jumps.pop_back();
    const auto copy = [&](std::size_t at) {
      at_ = begin;
      const std::size_t start = add_state();
      nfa_.states[at].jumps.push_back(start);
      return atom(start, depth);
    };
    for (std::size_t i = 0; i < min; ++i) from = copy(from);
    if (max == kNoEnd) {
      const std::size_t loop = add_state();
      nfa_.states[from].jumps.push_back(loop);
      nfa_.states[copy(loop)].jumps.push_back(loop);
      from = add_state();
      nfa_.states[loop].jumps.push_back(from);
    } else {
      const std::size_t end = add_state();
      for (std::size_t i = min; i < max; ++i) {
        nfa_.states[from].jumps.push_back(end);
        from = copy(from);
      }
      nfa_.states[from].jumps.push_back(end);
      from = end;
    }
    at_ = after;
    return from;
  }

  // Parses {n}, {n,} or {n,m}.
  bool counts(std::size_t& min, std::size_t& max) {
    if (!accept('{')) return false;
    const std::optional<std::size_t> first = number();
    std::optional<std::size_t> last = first;
    if (first && accept(',')) last = number();
    if (!first || !accept('}')) refuse("a \"{\" that begins no count (write \\{)");
    min = *first;
    max = last.value_or(kNoEnd);
    if (max < min) refuse("a count whose maximum is less than its minimum");
    return true;
  }

  std::optional<std::size_t> number() {
    std::optional<std::size_t> value;
    while (more() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = value.value_or(0) * 10 + (text_[at_++] - '0');
      if (*value > kMaxCount) refuse(fmt::format("a count beyond {}", kMaxCount));
    }
    return value;
  }

  std::size_t atom(std::size_t from, std::size_t depth) {
    if (depth == kMaxNesting) refuse(fmt::format("nesting beyond {} groups", kMaxNesting));
    const char32_t c = text_[at_++];
    switch (c) {
      case '(': {
        if (accept('?')) {
          const bool python = whole_ && accept('P');
          if (accept('<')) {
            if (next_is('=') || next_is('!')) refuse("lookbehind, (?<=…) or (?<!…),");
            for (; more() && !next_is('>'); ++at_) count();
            if (!accept('>')) refuse("an unterminated group name");
          } else if (python || !accept(':')) {
            refuse("\"(?\" other than (?:…) and (?<name>…)");
          }
        }
        const std::size_t to = alternatives(from, depth + 1);
        if (!accept(')')) refuse(next_is('$') ? "$ within a group" : "an unterminated group");
        return to;
      }
      case '[':
        return add_set(from, set());
      case '.':
        return add_set(from, complement(kLineEnds));
      case '\\':
        return add_set(from, escaped(false));
      case '^':
        refuse("^ other than at the beginning");
      case '*':
      case '+':
      case '?':
        refuse(fmt::format("\"{}\" with nothing to repeat", shown(c)));
      default:
        return add_set(from, {{c, c}});
    }
  }

  std::vector<CodePointRange> escaped(bool in_set) {
    if (!more()) refuse("a trailing backslash");
    const char32_t c = text_[at_++];
    switch (c) {
      case 'd':
        return kDigits;
      case 'D':
        return complement(kDigits);
      case 'w':
        return kWord;
      case 'W':
        return complement(kWord);
      case 's':
        return kBlanks;
      case 'S':
        return complement(kBlanks);
      case 't':
        return {{'\t', '\t'}};
      case 'n':
        return {{'\n', '\n'}};
      case 'r':
        return {{'\r', '\r'}};
      case 'f':
        return {{'\f', '\f'}};
      case 'v':
        return {{'\v', '\v'}};
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'b':
        if (in_set) return {{'\b', '\b'}};
        break;
      default:
        break;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) refuse(fmt::format("\\{}", shown(c)));
    return {{c, c}};
  }

  std::vector<CodePointRange> hex(std::size_t digits) {
    char32_t value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char32_t c = more() ? text_[at_++] : U' ';
      const char32_t lower = c | 0x20;
      if (c >= '0' && c <= '9') {
        value = value * 16 + (c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + (lower - 'a' + 10);
      } else {
        refuse("\\x or \\u without hexadecimal digits");
      }
    }
    return {{value, value}};
  }

  std::vector<CodePointRange> set() {
    const bool negated = accept('^');
    std::vector<CodePointRange> ranges;
    // ECMA-262 and Python disagree on what it means.
    if (whole_ && next_is(']')) refuse("a class that begins with \"]\" (write \\])");
    while (!next_is(']')) {
      if (!more()) refuse("an unterminated class");
      std::vector<CodePointRange> first = member();
      const bool single = first.size() == 1 && first[0].first == first[0].last;
      if (single && next_is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != U']') {
        ++at_;
        const std::vector<CodePointRange> last = member();
        if (last.size() != 1 || last[0].first != last[0].last || last[0].first < first[0].first) {
          refuse("a class range with such ends");
        }
        first[0].last = last[0].first;
      }
      ranges.insert(ranges.end(), first.begin(), first.end());
    }
    ++at_;
    return negated ? complement(ranges) : normalized(std::move(ranges));
  }

  std::vector<CodePointRange> member() {
    if (!more()) refuse("an unterminated class");
    count();
    const char32_t c = text_[at_++];
    if (c == U'\\') return escaped(true);
    return {{c, c}};
  }

  std::string_view pattern_;
  bool whole_;
  std::u32string text_;
  std::size_t at_ = 0;
  PatternNfa nfa_;
};

}  // namespace

PatternNfa parse_pattern(std::string_view pattern, PatternMatch match) {
  return Parser(pattern, match).parse();
}

}  // namespace outrider
