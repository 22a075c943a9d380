#include "outrider/prompt/message_encoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "outrider/prompt/completion_parser.h"
#include "outrider/prompt/python_json.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;

std::string encode(const std::string& messages, const MessageEncoding& encoding = {}) {
  return encode_messages(parse_python_json(messages, "messages"), encoding);
}

MessageEncoding thinking() {
  MessageEncoding encoding;
  encoding.thinking_mode = ThinkingMode::kThinking;
  return encoding;
}

TEST(MessageEncoder, LongConversationsTakeLinearTime) {
  auto messages = ordered_json::array({{{"role", "user"}, {"content", "a"}}});
  for (int i = 0; i < 200'000; ++i) messages.push_back({{"role", "assistant"}, {"content", "b"}});
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(encode_messages(messages, {}), HasSubstr("b<｜end▁of▁sentence｜>b<｜end▁of▁sentence｜>"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(MessageEncoder, DropsReasoningBeforeTheLastQuestionUnlessThereAreTools) {
  const std::string turns = R"({"role":"user","content":"a"},
      {"role":"assistant","content":"b","reasoning_content":"r1"},{"role":"user","content":"c"},
      {"role":"assistant","content":"d","reasoning_content":"r2"}])";
  EXPECT_EQ(encode("[" + turns, thinking()),
            "<｜begin▁of▁sentence｜><｜User｜>a<｜Assistant｜></"
            "think>b<｜end▁of▁sentence｜><｜User｜>c<｜Assistant｜><think>r2"
            "</think>d<｜end▁of▁sentence｜>");
  const std::string with_tools =
      encode(R"([{"role":"system","tools":[{"function":{"name":"f"}}]},)" + turns, thinking());
  EXPECT_THAT(with_tools, HasSubstr("{\"name\": \"f\"}\n\nYou MUST"));
  EXPECT_THAT(with_tools, HasSubstr("<think>r1</think>b"));
}

TEST(MessageEncoder, DropsDevelopersBeforeTheLastQuestionWithTheReasoning) {
  const std::string messages = R"([{"role":"developer","content":"rules"},{"role":"assistant","content":"x"},
                                   {"role":"user","content":"q"}])";
  EXPECT_EQ(encode(messages, thinking()),
            "<｜begin▁of▁sentence｜>x<｜end▁of▁sentence｜><｜User｜>q<｜Assistant｜><think>");
  MessageEncoding keep = thinking();
  keep.drop_thinking = false;
  EXPECT_THAT(encode(messages, keep), HasSubstr("<｜User｜>rules<｜Assistant｜><think></think>x"));
}

TEST(MessageEncoder, JoinsContentParts) {
  EXPECT_EQ(encode(R"([{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url"},
                       {"type":"text","text":"b"}]}])"),
            "<｜begin▁of▁sentence｜><｜User｜>a\n\n[Unsupported image_url]\n\nb<｜Assistant｜></think>");
}

TEST(MessageEncoder, ArgumentsMayBeAnObjectOrAnything) {
  const auto call = [](const std::string& arguments) {
    return encode(R"([{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"function":{"name":"f",
                      "arguments":)" +
                  arguments + "}}]}]");
  };
  EXPECT_THAT(call(R"({"a": 1e0, "b": "x\ny"})"),
              HasSubstr("<｜DSML｜parameter name=\"a\" string=\"false\">1.0</｜DSML｜parameter>\n"
                        "<｜DSML｜parameter name=\"b\" string=\"true\">x\ny</｜DSML｜parameter>\n</｜DSML｜invoke>"));
  EXPECT_THAT(call(R"("[1]")"), HasSubstr("name=\"arguments\" string=\"true\">[1]</"));
  EXPECT_THAT(call("null"), HasSubstr("name=\"arguments\" string=\"false\">null</"));
}

TEST(MessageEncoder, PutsTheEffortPrefixBeforeTheFirstMessageOnly) {
  MessageEncoding encoding = thinking();
  encoding.reasoning_effort = "max";
  EXPECT_THAT(encode(R"([{"role":"user","content":"q"}])", encoding),
              HasSubstr("sentence｜>Reasoning Effort: Absolute maximum"));
  encoding.context =
      parse_python_json(R"([{"role":"user","content":"q"},{"role":"assistant","content":"a"}])", "context");
  EXPECT_EQ(encode(R"([{"role":"user","content":"r"}])", encoding), "<｜User｜>r<｜Assistant｜><think>");
}

TEST(MessageEncoder, RejectsInvalidConversations) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"role":"user"})", "not an array"},
      {R"([1])", "messages[0]: is not an object"},
      {R"([{"role":"user","content":1}])", "\"content\" is neither"},
      {R"([{"role":"user","content":[1]}])", "a part of \"content\""},
      {R"([{"content":"x"}])", "Unknown role: "},
      {R"([{"role":3}])", "\"role\" is not a string"},
      {R"([{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"name":"f"}]}])",
       "messages[1]: \"tool_calls\""},
      {R"([{"role":"assistant","tool_calls":[{"function":{}}]}])", "\"name\" is not a string"},
      {R"([{"role":"system","tools":{"a":1}}])", "\"tools\" is not an array"},
      {R"([{"role":"user","content":"x","task":"sing"}])", "Invalid task: 'sing'"},
  };
  for (const auto& [messages, expected] : cases) {
    try {
      encode(messages);
      ADD_FAILURE() << messages << " was accepted";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr(expected)) << messages;
    }
  }
}

constexpr const char* kEnd = "<｜end▁of▁sentence｜>";

TEST(CompletionParser, ParsesAnEncodedTurn) {
  MessageEncoding encoding = thinking();
  const std::string prompt = encode(R"([{"role":"user","content":"q"}])", encoding);
  const std::string all = encode(
      R"([{"role":"user","content":"q"},{"role":"assistant","reasoning_content":"r","content":"c","tool_calls":[
          {"function":{"name":"f","arguments":"{\"a\": [1, 2.5], \"b\": \"</x>\\n\\\"\", \"c\": {\"k\": null}}"}},
          {"function":{"name":"g","arguments":"{\"n\": 1}"}}]}])",
      encoding);
  ASSERT_TRUE(all.starts_with(prompt));
  const Completion read = parse_completion(all.substr(prompt.size()), ThinkingMode::kThinking);
  EXPECT_EQ(read.reasoning_content, "r");
  EXPECT_EQ(read.content, "c");
  ASSERT_EQ(read.tool_calls.size(), 2U);
  EXPECT_EQ(read.tool_calls[0].name, "f");
  EXPECT_EQ(read.tool_calls[0].arguments, R"({"a": [1, 2.5], "b": "</x>\n\"", "c": {"k": null}})");
  EXPECT_EQ(read.tool_calls[1].arguments, R"({"n": 1})");
}

TEST(CompletionParser, RejectsWhatTheReleaseRejects) {
  const std::string open = "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n";
  const std::string close = "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  const std::string parameter = "<｜DSML｜parameter name=\"a\" string=\"true\">x</｜DSML｜parameter>\n";
  const std::pair<std::string, const char*> cases[] = {
      {"text", "missing EOS"},
      {std::string("a") + kEnd + "b", "Unexpected content at end"},
      {std::string("a</think>b") + kEnd, "Unexpected special token '</think>'"},
      {open + parameter + close + "more" + kEnd, "Unexpected content after tool calls"},
      {open + "<｜DSML｜parameter name=\"a\" string=\"maybe\">x</｜DSML｜parameter>\n" + close + kEnd,
       "Parameter format error"},
      {open + "<｜DSML｜parameter name=\"a\">x</｜DSML｜parameter>\n" + close + kEnd, "Parameter format error"},
      {open + parameter + parameter + close + kEnd, "Duplicate parameter name: 'a'"},
      {open + parameter + "words" + close + kEnd, "expected '>\\n'"},
      {"\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke f>\n" + close + kEnd, "Tool name format error"},
      {"\n\n<｜DSML｜tool_calls>words</｜DSML｜tool_calls>" + std::string(kEnd), "Tool call format error"},
      {"\n\n<｜DSML｜tool_calls>\n", "Missing special token"},
  };
  EXPECT_EQ(parse_completion(open + parameter + close + kEnd, ThinkingMode::kChat).tool_calls.size(), 1U);
  for (const auto& [text, expected] : cases) {
    try {
      parse_completion(text, ThinkingMode::kChat);
      ADD_FAILURE() << text << " was accepted";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr(expected)) << text;
    }
  }
  EXPECT_THROW(parse_completion(open + close + "</think>" + kEnd, ThinkingMode::kThinking), Error);
}

}  // namespace
}  // namespace outrider
