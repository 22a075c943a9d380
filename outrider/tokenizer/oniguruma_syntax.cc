#include "outrider/tokenizer/oniguruma_syntax.h"

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <optional>
#include <utility>
#include <vector>

#include "outrider/tokenizer/utf8.h"
#include "outrider/util/error.h"
#include "outrider/util/printable.h"

namespace outrider {
namespace {

constexpr int kMaxNesting = 64;
constexpr std::string_view kAny = R"([\x{0}-\x{10ffff}])";
constexpr std::string_view kSpace = R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f})"
                                    R"(\x{205f}\x{3000})";

// The inside of a PCRE2 bracket expression, and nested classes united with it.
struct ClassSet;
struct ClassUnion {
  std::string items;
  std::vector<ClassSet> sets;
};
// The intersection of the unions, or its complement.
struct ClassSet {
  bool negated = false;
  std::vector<ClassUnion> unions;
};

struct Additions {
  std::string_view property;
  std::string_view items;
};
constexpr Additions kUnicodeAdditions[] = {
#include "outrider/tokenizer/unicode_additions.inc"
};

std::string additions(std::string_view property) {
  std::string items;
  for (const Additions& entry : kUnicodeAdditions) {
    const bool category = entry.property.size() == 2 && property.size() == 1 && entry.property[0] == property[0];
    if (category || entry.property == property) items += entry.items;
  }
  return items;
}

std::string general_category(std::string_view name) {
  return fmt::format("\\p{{{}}}", name) + additions(name);
}

std::string word_items() {
  // Alphabetic, M, Nd and Pc of UTS 18, and the superscript digits and vulgar fractions of Latin-1, which Oniguruma
  // treats as word characters.
  return general_category("L") + general_category("M") + general_category("Nd") + R"(\p{Nl}\p{Pc})" +
         R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
}

// The bracket items of \p{name}; nothing if the name is unknown.
std::optional<std::string> property_items(std::string_view name) {
  std::string key;  // Oniguruma ignores case, blanks, '-' and '_'
  for (const char c : name) {
    if (c != ' ' && c != '_' && c != '-') key += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 35> kCategories = {{
      {"l", "letter"},
      {"lu", "uppercaseletter"},
      {"ll", "lowercaseletter"},
      {"lt", "titlecaseletter"},
      {"lm", "modifierletter"},
      {"lo", "otherletter"},
      {"m", "mark"},
      {"mn", "nonspacingmark"},
      {"mc", "spacingmark"},
      {"me", "enclosingmark"},
      {"n", "number"},
      {"nd", "decimalnumber"},
      {"nl", "letternumber"},
      {"no", "othernumber"},
      {"p", "punctuation"},
      {"pc", "connectorpunctuation"},
      {"pd", "dashpunctuation"},
      {"ps", "openpunctuation"},
      {"pe", "closepunctuation"},
      {"pi", "initialpunctuation"},
      {"pf", "finalpunctuation"},
      {"po", "otherpunctuation"},
      {"s", "symbol"},
      {"sm", "mathsymbol"},
      {"sc", "currencysymbol"},
      {"sk", "modifiersymbol"},
      {"so", "othersymbol"},
      {"z", "separator"},
      {"zs", "spaceseparator"},
      {"zl", "lineseparator"},
      {"zp", "paragraphseparator"},
      {"cc", "control"},
      {"cf", "format"},
      {"co", "privateuse"},
      {"m", "combiningmark"},
  }};
  for (const auto& [brief, full] : kCategories) {
    if (key != brief && key != full) continue;
    std::string category(brief);
    category[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(category[0])));
    return general_category(category);
  }
  const auto binary = [](std::string_view property) {
    return fmt::format("\\p{{{}}}", property) + additions(property);
  };
  if (key == "alpha" || key == "alphabetic") return binary("Alphabetic");
  if (key == "alnum") return binary("Alphabetic") + general_category("Nd");
  if (key == "upper" || key == "uppercase") return binary("Uppercase");
  if (key == "lower" || key == "lowercase") return binary("Lowercase");
  if (key == "digit") return general_category("Nd");
  if (key == "space" || key == "whitespace") return std::string(kSpace);
  if (key == "punct") return general_category("P");
  if (key == "word") return word_items();
  if (key == "xdigit") return "0-9A-Fa-f";
  if (key == "cntrl") return "\\p{Cc}";
  if (key == "any") return R"(\x{0}-\x{10ffff})";
  if (key == "ascii") return R"(\x{0}-\x{7f})";
  static constexpr std::string_view kScripts[] = {
      "Arabic",   "Armenian", "Bengali",  "Bopomofo", "Cyrillic",  "Devanagari", "Ethiopic", "Georgian",
      "Greek",    "Gujarati", "Gurmukhi", "Han",      "Hangul",    "Hebrew",     "Hiragana", "Kannada",
      "Katakana", "Khmer",    "Lao",      "Latin",    "Malayalam", "Mongolian",  "Myanmar",  "Oriya",
      "Sinhala",  "Tamil",    "Telugu",   "Thai",     "Tibetan"};
  for (const std::string_view script : kScripts) {
    std::string lower(script);
    lower[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(lower[0])));
    if (key == lower) return fmt::format("\\p{{sc:{}}}", script) + additions(script);
  }
  return std::nullopt;
}

ClassSet plain_set(bool negated, std::string items) {
  ClassSet set;
  set.negated = negated;
  set.unions.push_back({std::move(items), {}});
  return set;
}

std::string literal(char32_t c) {
  std::string text;
  if (c < 0x80 && std::isalnum(static_cast<int>(c)) != 0) {
    text += static_cast<char>(c);
  } else {
    text = fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(c));
  }
  return text;
}

std::string written(const ClassSet& set);

std::string written(const ClassUnion& of) {
  if (of.sets.empty()) return of.items.empty() ? "(?!)" : "[" + of.items + "]";
  std::string text = "(?:";
  if (!of.items.empty()) text += "[" + of.items + "]";
  for (const ClassSet& set : of.sets) {
    if (text.size() > 3) text += "|";
    text += written(set);
  }
  return text + ")";
}

std::string written(const ClassSet& set) {
  if (set.unions.size() == 1) {
    const ClassUnion& only = set.unions.front();
    if (!set.negated) return written(only);
    if (only.sets.empty()) return only.items.empty() ? std::string(kAny) : "[^" + only.items + "]";
  }
  std::string all;
  for (std::size_t i = 0; i + 1 < set.unions.size(); ++i) all += "(?=" + written(set.unions[i]) + ")";
  all += written(set.unions.back());
  return set.negated ? fmt::format("(?:(?!{}){})", all, kAny) : "(?:" + all + ")";
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    alternatives(0);
    if (at_ < pattern_.size()) fail("an unmatched )");
    return std::move(out_);
  }

 private:
  bool done() const { return at_ >= pattern_.size(); }
  bool next_is(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!next_is(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t take_code_point() { return next_code_point(pattern_, at_); }

  [[noreturn]] void fail(std::string_view what) const {
    throw Error(fmt::format("the regular expression \"{}\" has {} (near byte {}), which is not supported here.",
                            printable(pattern_, 400), what, at_));
  }

  // Parses up to the end of the pattern, or to the ) that ends the group.
  void alternatives(int depth) {
    if (depth > kMaxNesting) fail(fmt::format("groups nested deeper than {} levels", kMaxNesting));
    while (!done() && !next_is(")")) {
      const std::size_t begin = out_.size();
      if (atom(depth)) quantifiers(begin);
    }
  }

  // Translates one atom; false for one that takes no quantifier.
  bool atom(int depth) {
    if (take("|")) {
      out_ += '|';
      return false;
    }
    if (take("[")) {
      out_ += written(class_set(depth + 1));
      return true;
    }
    if (take("(")) return group(depth);
    if (take("\\")) return escape();
    if (take(".")) {
      out_ += '.';
      return true;
    }
    for (const std::string_view anchor : {"^", "$"}) {
      if (take(anchor)) {
        out_ += anchor;
        return false;
      }
    }
    if (next_is("*") || next_is("+") || next_is("?")) fail("a quantifier with nothing to repeat");
    out_ += literal(take_code_point());
    return true;
  }

  bool group(int depth) {
    if (take("?#")) {
      const std::size_t end = pattern_.find(')', at_);
      if (end == std::string_view::npos) fail("an unterminated comment");
      at_ = end + 1;
      return false;
    }
    for (const std::string_view kind : {"?:", "?=", "?!", "?>", "?<=", "?<!"}) {
      if (take(kind)) {
        group_body(fmt::format("({}", kind), depth);
        return true;
      }
    }
    if (!take("?")) {
      group_body("(?:", depth);
      return true;
    }
    if (take("<")) {
      const std::size_t end = pattern_.find('>', at_);
      if (end == std::string_view::npos) fail("an unterminated group name");
      at_ = end + 1;
      group_body("(?:", depth);
      return true;
    }
    return options(depth);
  }

  void group_body(const std::string& opening, int depth) {
    out_ += opening;
    alternatives(depth + 1);
    if (!take(")")) fail("an unterminated group");
    out_ += ')';
  }

  // Parses (?im-im:…) and (?im-im), which extends to the end of the enclosing group, alternatives included.
  bool options(int depth) {
    const bool ignored_case = ignore_case_;
    bool on = true;
    std::string written_options = "(?";
    while (!done() && !next_is(":") && !next_is(")")) {
      if (take("i")) {
        written_options += 'i';
        ignore_case_ = on;
      } else if (take("m")) {
        written_options += 's';  // Oniguruma's (?m): the dot matches line feeds too
      } else if (take("-")) {
        written_options += '-';
        on = false;
      } else {
        fail("a group option other than i and m");
      }
    }
    written_options += ':';
    if (take(":")) {
      group_body(written_options, depth);
      ignore_case_ = ignored_case;
      return true;
    }
    if (!take(")")) fail("an unterminated group");
    out_ += written_options;
    alternatives(depth + 1);
    out_ += ')';
    ignore_case_ = ignored_case;
    return false;
  }

  // The set of \d, \p{…} and the like, after the backslash; nothing for other escapes.
  std::optional<ClassSet> set_escape() {
    if (next_is("p{") || next_is("P{")) {
      const bool upper = next_is("P");
      at_ += 2;
      const bool caret = take("^");
      const std::size_t end = pattern_.find('}', at_);
      if (end == std::string_view::npos) fail("an unterminated \\p");
      const std::string_view name = pattern_.substr(at_, end - at_);
      std::optional<std::string> items = property_items(name);
      if (!items) fail(fmt::format("the property \\p{{{}}}", printable(name)));
      at_ = end + 1;
      return plain_set(upper != caret, std::move(*items));
    }
    if (done()) return std::nullopt;
    const char letter = pattern_[at_];
    const auto take_as = [&](std::string items) {
      ++at_;
      return plain_set(std::isupper(static_cast<unsigned char>(letter)) != 0, std::move(items));
    };
    switch (letter) {
      case 'd':
      case 'D':
        return take_as(general_category("Nd"));
      case 's':
      case 'S':
        return take_as(std::string(kSpace));
      case 'w':
      case 'W':
        return take_as(word_items());
      case 'h':
      case 'H':
        return take_as("0-9A-Fa-f");
      default:
        return std::nullopt;
    }
  }

  char32_t hexadecimal(std::size_t min_digits, std::size_t max_digits) {
    char32_t value = 0;
    std::size_t digits = 0;
    while (digits < max_digits && !done() && std::isxdigit(static_cast<unsigned char>(pattern_[at_])) != 0) {
      const char c = static_cast<char>(std::tolower(static_cast<unsigned char>(pattern_[at_++])));
      value = value * 16 + static_cast<char32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
      ++digits;
    }
    if (digits < min_digits || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) fail("an invalid \\x or \\u");
    return value;
  }

  // The character of an escape, after the backslash.
  char32_t character_escape() {
    if (done()) fail("a trailing backslash");
    if (take("t")) return '\t';
    if (take("n")) return '\n';
    if (take("r")) return '\r';
    if (take("f")) return '\f';
    if (take("v")) return '\v';
    if (take("a")) return '\a';
    if (take("e")) return 0x1b;
    if (take("u")) return hexadecimal(4, 4);
    if (take("x{")) {
      const char32_t value = hexadecimal(1, 8);
      if (!take("}")) fail("an unterminated \\x{");
      return value;
    }
    if (take("x")) {
      const char32_t value = hexadecimal(1, 2);
      if (value >= 0x80) fail("a byte that is not a character");
      return value;
    }
    if (std::isalnum(static_cast<unsigned char>(pattern_[at_])) != 0) {
      fail(fmt::format("the escape \\{}", pattern_[at_]));
    }
    return take_code_point();
  }

  bool escape() {
    if (const std::optional<ClassSet> set = set_escape()) {
      out_ += written(*set);
      return true;
    }
    if (next_is("b") || next_is("B")) {
      const std::string word = "[" + word_items() + "]";
      out_ += next_is("b") ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word)
                           : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
      ++at_;
      return false;
    }
    for (const std::string_view anchor : {"A", "z", "Z"}) {
      if (take(anchor)) {
        out_ += '\\';
        out_ += anchor;
        return false;
      }
    }
    if (take("R")) {
      out_ += R"((?>\x{d}\x{a}|[\x{a}-\x{d}\x{85}\x{2028}\x{2029}]))";
    } else if (take("N")) {
      out_ += R"([^\x{a}])";
    } else if (take("O")) {
      out_ += kAny;
    } else {
      out_ += literal(character_escape());
    }
    return true;
  }

  // Parses {n}, {n,}, {,m} or {n,m} and returns it in PCRE2's syntax; nothing, consuming nothing, if { is a literal.
  std::optional<std::string> interval() {
    std::size_t at = at_ + 1;
    const auto digits = [&] {
      const std::size_t begin = at;
      while (at < pattern_.size() && std::isdigit(static_cast<unsigned char>(pattern_[at])) != 0) ++at;
      return pattern_.substr(begin, at - begin);
    };
    const std::string_view low = digits();
    const bool comma = at < pattern_.size() && pattern_[at] == ',';
    if (comma) ++at;
    const std::string_view high = comma ? digits() : std::string_view{};
    if ((low.empty() && high.empty()) || at >= pattern_.size() || pattern_[at] != '}') return std::nullopt;
    at_ = at + 1;
    fixed_interval_ = !comma;
    return fmt::format("{{{}{}{}}}", low.empty() ? "0" : low, comma ? "," : "", high);
  }

  // Translates the quantifiers of the atom written from `begin` on; each applies to everything before it.
  void quantifiers(std::size_t begin) {
    for (bool quantified = false;; quantified = true) {
      std::string quantifier;
      if (next_is("*") || next_is("+") || next_is("?")) {
        quantifier = pattern_[at_++];
        if (next_is("?") || next_is("+")) quantifier += pattern_[at_++];
      } else if (next_is("{")) {
        const std::optional<std::string> found = interval();
        if (!found) return;
        quantifier = *found;
        if (!fixed_interval_ && next_is("?")) quantifier += pattern_[at_++];
      } else {
        return;
      }
      if (quantified) {
        out_.insert(begin, "(?:");
        out_ += ')';
      }
      out_ += quantifier;
    }
  }

  std::optional<ClassSet> posix_bracket() {
    if (!next_is("[:")) return std::nullopt;
    const std::size_t end = pattern_.find(":]", at_ + 2);
    if (end == std::string_view::npos) return std::nullopt;
    std::string_view name = pattern_.substr(at_ + 2, end - at_ - 2);
    const bool negated = name.starts_with("^");
    if (negated) name.remove_prefix(1);
    for (const char c : name) {
      if (std::isalpha(static_cast<unsigned char>(c)) == 0) return std::nullopt;
    }
    std::optional<std::string> items =
        name == "punct" ? general_category("P") + general_category("S") : property_items(name);
    if (!items) fail(fmt::format("the POSIX bracket [:{}:]", printable(name)));
    at_ = end + 2;
    return plain_set(negated, std::move(*items));
  }

  static void unite(ClassUnion& with, ClassSet set) {
    if (!set.negated && set.unions.size() == 1 && set.unions.front().sets.empty()) {
      with.items += set.unions.front().items;
    } else {
      with.sets.push_back(std::move(set));
    }
  }

  // Parses a class after its [.
  ClassSet class_set(int depth) {
    if (depth > kMaxNesting) fail(fmt::format("classes nested deeper than {} levels", kMaxNesting));
    ClassSet set;
    set.negated = take("^");
    set.unions.emplace_back();
    for (bool first = true;; first = false) {
      if (done()) fail("an unterminated class");
      if (!first && take("]")) return set;
      if (take("&&")) {
        // Oniguruma adds case variants to the intersection, PCRE2 to its operands.
        if (ignore_case_) fail("&& under (?i)");
        set.unions.emplace_back();
        continue;
      }
      ClassUnion& into = set.unions.back();
      if (std::optional<ClassSet> posix = posix_bracket()) {
        unite(into, std::move(*posix));
      } else if (take("[")) {
        unite(into, class_set(depth + 1));
      } else {
        class_characters(into);
      }
    }
  }

  bool range_follows() const { return at_ + 1 < pattern_.size() && pattern_[at_] == '-' && pattern_[at_ + 1] != ']'; }

  void class_characters(ClassUnion& into) {
    const bool escaped = take("\\");
    if (escaped) {
      if (std::optional<ClassSet> set = set_escape()) {
        unite(into, std::move(*set));
        if (range_follows()) fail("a class within a range");
        return;
      }
    }
    const char32_t low = escaped ? class_escape() : take_code_point();
    if (!range_follows()) {
      into.items += literal(low);
      return;
    }
    ++at_;
    if (next_is("[")) fail("a class within a range");
    const bool high_escaped = take("\\");
    if (high_escaped && set_escape()) fail("a class within a range");
    const char32_t high = high_escaped ? class_escape() : take_code_point();
    if (high < low) fail("a range whose end is before its start");
    into.items += literal(low) + "-" + literal(high);
  }

  char32_t class_escape() { return take("b") ? U'\b' : character_escape(); }

  std::string_view pattern_;
  std::size_t at_ = 0;
  std::string out_;
  bool fixed_interval_ = false;
  bool ignore_case_ = false;
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view pattern) {
  return Translator(pattern).run();
}

std::string quoted_for_pcre2(std::string_view text) {
  std::string quoted;
  for (std::size_t at = 0; at < text.size();) quoted += literal(next_code_point(text, at));
  return quoted;
}

}  // namespace outrider
