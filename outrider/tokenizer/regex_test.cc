#include "outrider/tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using Texts = std::vector<std::string>;

// The nonempty matches.
Texts matches(const std::string& pattern, const std::string& text) {
  std::vector<Regex::Match> found;
  Regex::oniguruma(pattern).find_all(text, found);
  Texts texts;
  for (const Regex::Match& match : found) {
    if (match.begin < match.end) texts.push_back(text.substr(match.begin, match.end - match.begin));
  }
  return texts;
}

TEST(Regex, MatchesAsOnigurumaDoes) {
  struct Case {
    const char* pattern;
    const char* text;
    Texts expected;  // what Split(Regex(pattern), "removed", invert=True) of tokenizers 0.23 finds
  };
  const Case cases[] = {
      {R"(a{1,2}+)", "aaa a", {"aaa", "a"}},         // a repeated repetition, not possessive
      {R"(a{,2})", "aaa", {"aa", "a"}},              // zero to two
      {R"(a{2}?)", "aaa", {"aa"}},                   // an optional pair, not a lazy one
      {R"((?m:a.b))", "a\nb", {"a\nb"}},             // m: the dot matches line feeds
      {R"(a.b)", "a\nb a\rb", {"a\rb"}},             //
      {R"(^a|b$)", "ab\nab", {"a", "b", "a", "b"}},  // anchors match at lines
      {R"(a(?i)b|c)", "aB aC c", {"aB", "aC"}},      // the option applies to the alternatives too
      {R"((?i)'S)", "'s 'S '\u017f", {"'s", "'S", "'\u017f"}},
      {R"(\h+)", "0aFg \t", {"0aF"}},   // hexadecimal digits
      {R"(\v)", "\v\n\u2028", {"\v"}},  // one character
      {R"(\s+)", "a\u180eb\u0085\u3000c", {"\u0085\u3000"}},
      {R"(\w+)", "x_1\u0301²é-中ⓐ", {"x_1\u0301²é", "中ⓐ"}},
      {R"(\bé)", "éé é", {"é", "é"}},
      {R"([a-z&&[^aeiou]]+)", "alphabet", {"lph", "b", "t"}},
      {R"([\d[xy]]+)", "a1x2y3z", {"1x2y3"}},
      {R"([^\S\n]+)", "a \t\n b", {" \t", " "}},
      {R"([^\W\d]+)", "ab12cd", {"ab", "cd"}},
      {R"([]a]+)", "x]a]", {"]a]"}},
      {R"([[:punct:]]+)", "a$.b", {"$."}},
      {R"(\p{Punct}+)", "a$.b", {"."}},
      {R"(\p{^L}+)", "a12b", {"12"}},
      {R"(\p{Uppercase_Letter})", "aB", {"B"}},
      {R"(\p{Han}+)", "a中\U00031350々、", {"中\U00031350々"}},
      {R"(\p{L}+)", "\U000105c0\u1c89 \u0378", {"\U000105c0\u1c89"}},  // letters of Unicode 16
      {R"(\u0061\x62\x{e9})", "abé", {"abé"}},
      {R"({a{x})", "{a{x}", {"{a{x}"}},
      {R"((a)(?<n>b)(?#no)c)", "abc", {"abc"}},
      {R"(\R)", "a\r\nb\n\u2028", {"\r\n", "\n", "\u2028"}},
  };
  for (const Case& each : cases) EXPECT_EQ(matches(each.pattern, each.text), each.expected) << each.pattern;
}

TEST(Regex, HasNoEmptyMatchAfterAnotherMatch) {
  std::vector<Regex::Match> found;
  Regex::oniguruma("é*").find_all("xéy", found);
  Texts spans;
  for (const Regex::Match& match : found)
    spans.push_back(std::to_string(match.begin) + "-" + std::to_string(match.end));
  EXPECT_EQ(spans, (Texts{"0-0", "1-3", "4-4"}));
}

TEST(Regex, MatchesLiterals) {
  std::vector<Regex::Match> found;
  Regex::literal("a.*[é").find_all("a.*[é axx a.*[é", found);
  EXPECT_EQ(found.size(), 2U);
}

TEST(Regex, ErrorsNameUntranslatableConstructs) {
  const std::pair<const char*, const char*> cases[] = {
      {"\\X", "the escape \\X"},
      {"(a)\\1", "the escape \\1"},
      {"\\pL", "the escape \\p"},
      {"(?x)a", "option other than"},
      {"\\p{Emoji}", "\\p{Emoji}"},
      {"[a-\\d]", "a class within a range"},
      {"[b-a]", "before its start"},
      {"[a", "an unterminated class"},
      {"(?i)[a&&b]", "&& under (?i)"},
      {"a)", "an unmatched )"},
      {"*a", "nothing to repeat"},
      {"\\xe9", "a byte that is not a character"},
      {"a{3,1}", "does not compile"},
      {"\\x{110000}", "invalid \\x"},
      {"\\", "a trailing backslash"},
      {"(?<=a+)b", "does not compile"},
      {"(?<a", "an unterminated group name"},
      {"[[:sad:]]", "POSIX bracket [:sad:]"},
  };
  for (const auto& [pattern, expected] : cases) {
    try {
      Regex::oniguruma(pattern);
      ADD_FAILURE() << pattern << " was accepted";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr(expected)) << pattern;
    }
  }
  EXPECT_THROW(Regex::oniguruma(std::string(1000, '(')), Error);
  EXPECT_THROW(Regex::oniguruma(std::string(1000, '[')), Error);
}

}  // namespace
}  // namespace outrider
