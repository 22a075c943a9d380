#include "outrider/engine/text_stream.h"

#include <gtest/gtest.h>

#include "outrider/testing/bundled_model.h"

namespace outrider {
namespace {

using testing::bundled_tokenizer;

TextStreamOptions stopping(std::vector<std::string> stop) {
  TextStreamOptions options;
  options.stop = std::move(stop);
  return options;
}

struct Result {
  std::string text;
  std::optional<std::string> stop;
  std::size_t tokens = 0;
};

Result stream(const std::string& text, TextStreamOptions options) {
  TextStream stream(bundled_tokenizer(), std::move(options));
  Result result;
  for (const TokenId id : bundled_tokenizer().encode(text)) {
    result.text += stream.push(id);
    ++result.tokens;
    if (stream.stopped_by()) break;
  }
  result.text += stream.finish();
  result.stop = stream.stopped_by();
  return result;
}

TEST(TextStream, WithoutAStopStringReturnsTheWholeText) {
  const std::string text = "In the beginning God created the heaven and the earth. \xE2\x82\xAC";
  EXPECT_EQ(stream(text, {}).text, text);
  EXPECT_EQ(stream(text, stopping({"earthly", "Gods", "\xE2\x82\xAC\xE2"})).text, text);
  EXPECT_FALSE(stream(text, stopping({"earthly"})).stop);
}

TEST(TextStream, EndsBeforeTheFirstStopStringOrIncludesIt) {
  const std::string text = "In the beginning God created the heaven and the earth.";
  const Result before = stream(text, stopping({"earth", "created the", "d created"}));
  EXPECT_EQ(before.text, "In the beginning Go");
  EXPECT_EQ(before.stop, "d created");
  EXPECT_LT(before.tokens, bundled_tokenizer().encode(text).size());
  EXPECT_EQ(stream(text, {{"heaven"}, true, true, {}}).text, "In the beginning God created the heaven");
}

TEST(TextStream, HoldsBackWhatMayBeginAStopString) {
  TextStream stream(bundled_tokenizer(), stopping({"the LORD"}));
  std::string seen;
  for (const TokenId id : bundled_tokenizer().encode("and the LO")) seen += stream.push(id);
  EXPECT_EQ(seen, "and ");
  EXPECT_EQ(stream.finish(), "the LO");
}

TEST(TextStream, SkipsOrKeepsSpecialTokens) {
  const std::string text = "a<\xEF\xBD\x9CUser\xEF\xBD\x9C>b";
  EXPECT_EQ(stream(text, {}).text, "ab");
  EXPECT_EQ(stream(text, {{}, false, false, {}}).text, text);
  EXPECT_EQ(stream(text + "</think>", {{}, false, true, {*bundled_tokenizer().token_to_id("</think>")}}).text,
            "ab</think>");
}

TEST(TextStream, HiddenMarkersStillStop) {
  TextStreamOptions options;
  options.skip_special_tokens = false;
  options.hide_markers = true;
  const std::string text = "a<｜User｜>b</think>c";
  EXPECT_EQ(stream(text, options).text, "abc");
  options.kept_special_tokens = {*bundled_tokenizer().token_to_id("</think>")};
  EXPECT_EQ(stream(text, options).text, "ab</think>c");
  // No half of a marker is emitted.
  for (const char* stop : {"<｜User｜>", "ser｜>b", "｜>", "<｜U"}) {
    options.stop = {stop};
    const Result result = stream(text, options);
    EXPECT_EQ(result.text, "a") << stop;
    EXPECT_EQ(result.stop, stop);
  }
  options.stop = {"b"};
  options.include_stop = true;
  EXPECT_EQ(stream(text, options).text, "ab");
}

TEST(TextStream, StopStringsEndAfterTheFirstTokens) {
  const std::string text = "In the beginning God created the heaven and the earth. And the earth";
  const std::vector<TokenId> ids = bundled_tokenizer().encode(text);
  TextStreamOptions options = stopping({"the earth", "earth"});
  for (std::size_t n = 0; n <= ids.size(); ++n) {
    options.min_tokens = n;
    const Result result = stream(text, options);
    const std::string within = bundled_tokenizer().decode(std::span(ids).first(n), false);
    // The first occurrence that ends after the first n tokens.
    const std::size_t from = within.size() < 9 ? 0 : within.size() - 8;
    const std::size_t at = text.find("the earth", from);
    EXPECT_EQ(result.text, text.substr(0, at)) << n;
    EXPECT_EQ(result.stop.has_value(), at != std::string::npos) << n;
  }
}

}  // namespace
}  // namespace outrider
