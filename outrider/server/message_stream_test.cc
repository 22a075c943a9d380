#include "outrider/server/message_stream.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

const std::string kTwoCalls =
    "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" "
    "string=\"true\">Ur</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" string=\"false\">3</｜DSML｜parameter>\n"
    "</｜DSML｜invoke>\n<｜DSML｜invoke name=\"time\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";

struct Result {
  std::string reasoning;
  std::string content;
  std::vector<ToolCall> calls;
  std::size_t calls_before_end = 0;
};

Result split(const std::string& text, ThinkingMode mode, bool tools, std::size_t piece) {
  MessageStream stream(mode, tools);
  Result result;
  const auto add = [&](const MessageStream::Delta& delta) {
    result.reasoning += delta.reasoning;
    result.content += delta.content;
    result.calls.insert(result.calls.end(), delta.tool_calls.begin(), delta.tool_calls.end());
  };
  for (std::size_t at = 0; at < text.size(); at += piece) add(stream.push(std::string_view(text).substr(at, piece)));
  result.calls_before_end = result.calls.size();
  add(stream.finish());
  return result;
}

TEST(MessageStream, DoesNotDependOnThePieceSize) {
  for (std::size_t piece = 1; piece < 40; ++piece) {
    const Result result = split("Let me see.</think>It is so." + kTwoCalls, ThinkingMode::kThinking, true, piece);
    EXPECT_EQ(result.reasoning, "Let me see.");
    EXPECT_EQ(result.content, "It is so.");
    ASSERT_EQ(result.calls.size(), 2U) << piece;
    EXPECT_EQ(result.calls[0].name, "weather");
    EXPECT_EQ(result.calls[0].arguments, R"({"city": "Ur", "days": 3})");
    EXPECT_EQ(result.calls[1].name, "time");
    EXPECT_EQ(result.calls[1].arguments, "{}");
    EXPECT_EQ(result.calls_before_end, 2U);
  }
}

TEST(MessageStream, AMalformedCallDoesNotTakeBackTheOneBefore) {
  std::string text = kTwoCalls;
  text.replace(text.find("name=\"time\""), 4, "nome");
  for (std::size_t piece = 1; piece < text.size(); piece += 9) {
    const Result result = split(text, ThinkingMode::kChat, true, piece);
    ASSERT_EQ(result.calls.size(), 1U) << piece;
    EXPECT_EQ(result.calls[0].name, "weather");
  }
  EXPECT_EQ(split(text, ThinkingMode::kChat, true, text.size()).calls.size(), 1U);
}

TEST(MessageStream, AValueMayHoldTheEndOfACall) {
  std::string text = kTwoCalls;
  text.replace(text.find("Ur"), 2, "</｜DSML｜invoke>\n");
  for (const std::size_t piece : {std::size_t{1}, std::size_t{30}, text.size()}) {
    const Result result = split(text, ThinkingMode::kChat, true, piece);
    ASSERT_EQ(result.calls.size(), 2U) << piece;
    EXPECT_EQ(result.calls[0].arguments, "{\"city\": \"</｜DSML｜invoke>\\n\", \"days\": 3}");
  }
}

TEST(MessageStream, WithoutToolsEverythingIsContent) {
  EXPECT_EQ(split("a</think>b" + kTwoCalls, ThinkingMode::kChat, false, 5).content, "a</think>b" + kTwoCalls);
}

TEST(MessageStream, FlushesHeldTextAtTheEnd) {
  EXPECT_EQ(split("thinking </thi", ThinkingMode::kThinking, true, 3).reasoning, "thinking </thi");
  EXPECT_EQ(split("text\n\n<｜DS", ThinkingMode::kChat, true, 3).content, "text\n\n<｜DS");
  const Result one =
      split(kTwoCalls.substr(0, kTwoCalls.find("<｜DSML｜invoke name=\"time\"")), ThinkingMode::kChat, true, 7);
  EXPECT_EQ(one.calls.size(), 1U);
  EXPECT_EQ(one.content, "");
}

TEST(MessageStream, MarkersNeverLeak) {
  const std::string user = "<｜User｜>";
  const std::string assistant = "<｜Assistant｜>";
  // The last: halves of a marker around another.
  for (const std::string& leak :
       {assistant, user + assistant, std::string("<｜end▁of▁sentence｜>"), "<｜Assis" + user + "tant｜>"}) {
    const std::string text = "Let" + leak + " me</think>It" + leak + " is</think>." + kTwoCalls;
    for (std::size_t piece = 1; piece < 40; ++piece) {
      const std::size_t ur = text.find("Ur<");
      const Result result = split(text.substr(0, ur) + leak + text.substr(ur), ThinkingMode::kThinking, true, piece);
      EXPECT_EQ(result.reasoning, "Let me") << piece;
      EXPECT_EQ(result.content, "It is.") << piece;
      ASSERT_EQ(result.calls.size(), 2U) << piece;
      EXPECT_EQ(result.calls[0].arguments, R"({"city": "Ur", "days": 3})");
    }
  }
  // A marker that the end of the output cuts.
  for (const std::string cut : {"<｜", "<｜Assist", "<｜User｜"}) {
    EXPECT_EQ(split("so" + cut, ThinkingMode::kChat, false, 1).content, "so");
    EXPECT_EQ(split("so" + cut, ThinkingMode::kThinking, false, 4).reasoning, "so");
  }
  EXPECT_EQ(split("1 < 2 <", ThinkingMode::kChat, false, 1).content, "1 < 2 <");
  EXPECT_EQ(split("<<<<<<< HEAD <｜x", ThinkingMode::kChat, false, 2).content, "<<<<<<< HEAD <｜x");
}

TEST(MessageStream, MalformedCallsAreContent) {
  const std::string bad =
      "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke nam=\"x\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  const Result result = split("so" + bad, ThinkingMode::kChat, true, 4);
  EXPECT_TRUE(result.calls.empty());
  EXPECT_EQ(result.content, "so" + bad);
}

}  // namespace
}  // namespace outrider
