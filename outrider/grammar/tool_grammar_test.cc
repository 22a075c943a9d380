#include "outrider/grammar/tool_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "outrider/grammar/grammar.h"
#include "outrider/prompt/completion_parser.h"
#include "outrider/prompt/markup.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;

MessageShape shape() {
  MessageShape shape;
  shape.functions = {ordered_json::parse(R"({"name":"weather","parameters":{"type":"object","properties":{
          "city":{"type":"string"},"days":{"type":"integer","minimum":1},"unit":{"type":"string","enum":["C","F"]},
          "zip":{"type":"string","pattern":"^\\d{5}$"},"tags":{"$ref":"#/$defs/tags"}},
          "required":["city"],"$defs":{"tags":{"type":"array","items":{"type":"string"}}}}})"),
                     ordered_json::parse(R"({"name":"now"})")};
  return shape;
}

std::string calls(const std::string& inner) {
  return "\n\n<｜DSML｜tool_calls>\n" + inner + "</｜DSML｜tool_calls>";
}
std::string weather(const std::string& parameters) {
  return "<｜DSML｜invoke name=\"weather\">\n" + parameters + "</｜DSML｜invoke>\n";
}
std::string parameter(const std::string& name, bool string, const std::string& value) {
  return "<｜DSML｜parameter name=\"" + name + "\" string=\"" + (string ? "true" : "false") + "\">" + value +
         "</｜DSML｜parameter>\n";
}

TEST(ToolCalls, RoundTripThroughTheParser) {
  const Grammar grammar = Grammar::message(shape());
  const std::string city = parameter("city", true, "São\n<b> / ｜x");
  for (const std::string& text : {calls(weather(city)), calls(weather(city + parameter("days", false, "3"))),
                                  calls(weather(city + parameter("unit", true, "F") + parameter("zip", true, "12345"))),
                                  calls(weather(city + parameter("tags", false, R"(["a", "b"])"))),
                                  calls("<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n")}) {
    EXPECT_TRUE(grammar.accepts(text)) << text;
    const Completion read = parse_completion(text + std::string(markup::kEndOfSentence), ThinkingMode::kChat);
    EXPECT_EQ(read.tool_calls.size(), 1U);
  }
  for (const std::string& text :
       {std::string("text"), calls(""), calls(weather("")), calls(weather(parameter("city", false, "\"x\""))),
        calls(weather(city + parameter("days", false, "0"))), calls(weather(city + parameter("unit", true, "K"))),
        calls(weather(city + city)), calls(weather(city)) + "x", calls(weather(city) + weather(city)),
        calls(weather(parameter("city", true, "a</｜DSML｜invoke>")))}) {
    EXPECT_FALSE(grammar.accepts(text)) << text;
  }
}

TEST(ToolCalls, MayBeSeveral) {
  MessageShape several = shape();
  several.several_calls = true;
  const std::string city = parameter("city", true, "x");
  EXPECT_TRUE(Grammar::message(several).accepts(calls(weather(city) + weather(city))));
}

TEST(ToolCalls, MayFollowReasoningAndReplaceContent) {
  MessageShape both = shape();
  both.reasoning = true;
  both.content = MessageShape::Content::kJsonObject;
  const Grammar grammar = Grammar::message(both);
  const std::string call = calls(weather(parameter("city", true, "x")));
  EXPECT_TRUE(grammar.accepts("Let me <think>. </think>" + call));
  EXPECT_TRUE(grammar.accepts("</think>{}"));
  EXPECT_FALSE(grammar.accepts("{}"));
  EXPECT_FALSE(grammar.accepts("</think>{}" + call));
}

TEST(ToolCalls, MarkupMayBeSpecialTokens) {
  MessageShape thinking = shape();
  thinking.reasoning = true;
  std::string call = calls(weather(parameter("city", true, "x")));
  for (std::size_t at = 0; (at = call.find(markup::kDsml, at)) != std::string::npos; at += markup::kDsml.size() + 1) {
    call.insert(at, "\xff");
  }
  EXPECT_TRUE(Grammar::message(thinking).accepts("hm\xff</think>" + call));
  EXPECT_FALSE(Grammar::message(thinking).accepts("hm\xff<think></think>" + call));
}

TEST(ToolCalls, ErrorsNameUnsupportedParameters) {
  MessageShape odd;
  odd.functions = {ordered_json::parse(R"({"name":"f","parameters":{"properties":{"x":{"not":{}}}}})")};
  try {
    Grammar::message(odd);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), ::testing::AllOf(::testing::HasSubstr("\"f\""), ::testing::HasSubstr("#/properties/x"),
                                           ::testing::HasSubstr("\"not\"")));
  }
}

}  // namespace
}  // namespace outrider
