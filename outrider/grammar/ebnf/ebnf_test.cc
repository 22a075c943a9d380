#include "outrider/grammar/ebnf/ebnf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "outrider/grammar/grammar.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;

void expect(const std::string& text, std::initializer_list<std::string_view> accepted,
            std::initializer_list<std::string_view> rejected) {
  SCOPED_TRACE(text);
  const Grammar grammar = Grammar::from_ebnf(text);
  for (const std::string_view each : accepted) EXPECT_TRUE(grammar.accepts(each)) << each;
  for (const std::string_view each : rejected) EXPECT_FALSE(grammar.accepts(each)) << each;
}

std::string error_of(const std::string& text) {
  try {
    Grammar::from_ebnf(text);
  } catch (const Error& e) {
    return e.what();
  }
  return "none";
}

TEST(Ebnf, AllowsBlanksAndCommentsAnywhere) {
  expect("# a comment\r\n\r\n root::=\"a\"b#c\r\n|'c'\n  b ::=\n \"b\" {1 , 2}", {"ab", "abb", "c"},
         {"a", "abbb", "ac"});
  expect("other ::= \"x\"\nroot ::= \"a\"\n  other", {"ax"}, {"a", "x"});
  expect("root ::= . [\\d\\w\\s]", {"日 ", "\n_"}, {"a-", "a"});
}

TEST(Ebnf, AcceptsRecursion) {
  expect("root ::= root root2 | \"a\"\nroot2 ::= \"b\" root2 | \"c\"", {"a", "ac", "abbcc"}, {"", "ab", "c"});
  expect("root ::= root | \"a\"", {"a"}, {"aa"});
}

TEST(Ebnf, FollowsEqualBeginningsOfAlternativesAsOne) {
  // Without that, each parenthesis would double the stacks.
  std::string text(200, '(');
  text += "1" + std::string(200, ')');
  expect("root ::= value \"+\" root | value \"-\" root | value\nvalue ::= \"1\" | \"(\" root \")\"", {text, "(1+1)-1"},
         {"(1+)"});
}

TEST(Ebnf, NamesLineAndFault) {
  EXPECT_THAT(error_of(""), HasSubstr("no rule"));
  EXPECT_THAT(error_of("start: \"a\""), HasSubstr("Lark"));
  EXPECT_THAT(error_of("x ::= \"a\""), HasSubstr("no rule \"root\""));
  EXPECT_THAT(error_of("root ::= \"a\"\n  | b"), HasSubstr("line 2: the rule \"b\" is not defined"));
  EXPECT_THAT(error_of("root ::= \"a\"\nroot ::= \"b\""), HasSubstr("line 2: the rule \"root\" is defined twice"));
  EXPECT_THAT(error_of("root ::= \"a\n\n"), HasSubstr("line 1: a string without closing quote"));
  EXPECT_THAT(error_of("root ::= [a\n"), HasSubstr("line 1: a class without"));
  EXPECT_THAT(error_of("root ::= []"), HasSubstr("empty class"));
  EXPECT_THAT(error_of("root ::= [z-a]"), HasSubstr("ends before it begins"));
  EXPECT_THAT(error_of("root ::= (\"a\""), HasSubstr("without \")\""));
  EXPECT_THAT(error_of("root ::= \"a\")"), HasSubstr("unexpected \")\""));
  EXPECT_THAT(error_of("root ::= *"), HasSubstr("unexpected \"*\""));
  EXPECT_THAT(error_of("root ::= \"a\"*+"), HasSubstr("repeated"));
  EXPECT_THAT(error_of("root ::= \"a\"{2,1}"), HasSubstr("maximum"));
  EXPECT_THAT(error_of("root ::= \"a\"{,1}"), HasSubstr("{n}"));
  EXPECT_THAT(error_of("root ::= \"a\"{10001}"), HasSubstr("10000"));
  EXPECT_THAT(error_of("root ::= \"\\q\""), HasSubstr("\\q"));
  EXPECT_THAT(error_of("root ::= \"\\x4\""), HasSubstr("2 hexadecimal digits"));
  EXPECT_THAT(error_of("root ::= \"\\ud800\""), HasSubstr("D800"));
  EXPECT_THAT(error_of("root ::= <think>"), HasSubstr("tokens"));
  EXPECT_THAT(error_of("root ::= (=\"a\")"), HasSubstr("lookahead"));
  EXPECT_THAT(error_of("root ::= \"\xff\""), HasSubstr("UTF-8"));
}

TEST(Ebnf, NamesRulesThatCannotBeCompiled) {
  EXPECT_THAT(error_of("root ::= x | \"a\"\nx ::= root \"b\""), HasSubstr("may begin with itself"));
  EXPECT_THAT(error_of("root ::= y x\nx ::= y x \"b\" | \"c\"\ny ::= \"a\"?"), HasSubstr("the rule \"x\""));
  EXPECT_THAT(error_of("root ::= root \"a\""), HasSubstr("no text of finite length"));
}

TEST(Ebnf, RejectsHostileGrammars) {
  const auto repeated = [](std::string_view text, std::size_t times) {
    std::string all;
    for (std::size_t i = 0; i < times; ++i) all += text;
    return all;
  };
  EXPECT_THAT(error_of("root ::= " + repeated("(", 100'000)), HasSubstr("nested"));
  EXPECT_THAT(error_of("root ::= " + repeated("(", 60) + "\"a\"" + repeated("){99}", 60)), HasSubstr("too large"));
  EXPECT_THAT(error_of("root ::= " + repeated(" ", 300'000)), HasSubstr("maximum"));
  EXPECT_THAT(error_of("root ::= (" + repeated("a a a a a a a a a a |", 700) + " b){1000}\na ::= \"a\"\nb ::= \"b\""),
              HasSubstr("too "));
  // A chain of rules that may be empty, in the order in which each must wait for the next.
  std::string chain = "root ::= r0\n";
  for (std::size_t i = 0; i < 10'000; ++i) chain += "r" + std::to_string(i) + "::=r" + std::to_string(i + 1) + "\n";
  EXPECT_EQ(error_of(chain + "r10000 ::= \"\""), "none");
  EXPECT_THAT(error_of(chain + "r10000 ::= r0 | \"\""), HasSubstr("may begin with itself"));
}

}  // namespace
}  // namespace outrider
