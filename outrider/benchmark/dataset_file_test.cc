#include "outrider/benchmark/dataset_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/testing/temp_dir.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::ElementsAre;

class DatasetFile : public ::testing::Test {
 protected:
  DatasetFile() { options_.shuffle = false; }

  std::vector<BenchmarkPrompt> custom(std::string_view text) {
    testing::write_file(dir_ / "data.jsonl", text);
    return read_custom_dataset(dir_ / "data.jsonl", options_);
  }
  std::string refusal(std::string_view text) {
    try {
      custom(text);
    } catch (const Error& e) {
      return e.what();
    }
    return "taken";
  }
  static std::vector<std::string> texts(const std::vector<BenchmarkPrompt>& prompts) {
    std::vector<std::string> out;
    for (const BenchmarkPrompt& prompt : prompts) out.push_back(std::get<std::string>(prompt.prompt));
    return out;
  }

  testing::TempDir dir_;
  DatasetOptions options_;
};

TEST_F(DatasetFile, CustomPromptsAreStringsOrTokenIds) {
  options_.count = 3;
  const auto prompts =
      custom("{\"prompt\": \"a\", \"output_tokens\": 7}\n\n{\"prompt\": [1, 2]}\r\n{\"prompt\": \"c\"}");
  ASSERT_EQ(prompts.size(), 3U);
  EXPECT_EQ(std::get<std::string>(prompts[0].prompt), "a");
  EXPECT_EQ(prompts[0].output_tokens, 7U);
  EXPECT_THAT(std::get<std::vector<TokenId>>(prompts[1].prompt), ElementsAre(1, 2));
  EXPECT_EQ(prompts[1].output_tokens, 256U);
  options_.output_len = 9;
  EXPECT_EQ(custom("{\"prompt\": \"a\", \"output_tokens\": 7}")[0].output_tokens, 9U);
}

TEST_F(DatasetFile, OversamplesIfThereAreTooFewPrompts) {
  const char* two = "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n";
  options_.count = 5;
  EXPECT_THAT(texts(custom(two)), ElementsAre("a", "b", "a", "b", "a"));
  options_.oversample = false;
  EXPECT_THAT(texts(custom(two)), ElementsAre("a", "b"));
  options_.count = 1;
  EXPECT_THAT(texts(custom(two)), ElementsAre("a"));
  options_.count = 0;
  EXPECT_THAT(texts(custom(two)), ElementsAre("a", "b"));
}

TEST_F(DatasetFile, ShufflingKeepsEveryPrompt) {
  std::string text;
  std::vector<std::string> all;
  for (int i = 0; i < 50; ++i) {
    all.push_back(std::to_string(i));
    text += "{\"prompt\": \"" + all.back() + "\"}\n";
  }
  options_.count = 50;
  options_.shuffle = true;
  const auto shuffled = texts(custom(text));
  EXPECT_THAT(shuffled, ::testing::UnorderedElementsAreArray(all));
  EXPECT_NE(shuffled, all);
  EXPECT_EQ(texts(custom(text)), shuffled);
}

TEST_F(DatasetFile, ErrorsNameTheLine) {
  EXPECT_THAT(refusal("{\"prompt\": \"a\"}\n{\"text\": \"b\"}\n"), ::testing::HasSubstr("line 2"));
  EXPECT_THAT(refusal("{\"prompt\": 4}"), ::testing::HasSubstr("must be a string or"));
  EXPECT_THAT(refusal("{\"prompt\": []}"), ::testing::HasSubstr("must be a string or"));
  EXPECT_THAT(refusal("{\"prompt\": [-1]}"), ::testing::HasSubstr("must be a string or"));
  EXPECT_THAT(refusal("{\"prompt\": [4294967296]}"), ::testing::HasSubstr("must be a string or"));
  EXPECT_THAT(refusal("{\"prompt\": \"a\", \"output_tokens\": 0}"), ::testing::HasSubstr("output_tokens"));
  EXPECT_THAT(refusal("{\"prompt\""), ::testing::HasSubstr("line 1"));
  EXPECT_THAT(refusal("\n\n"), ::testing::HasSubstr("no prompts"));
  EXPECT_THROW(read_custom_dataset(dir_ / "nothing", options_), Error);
}

TEST_F(DatasetFile, SharegptSkipsShortAndLongConversations) {
  TextTokens tokens;
  tokens.count = [](const std::string& text) { return text.size(); };
  const std::string prompt(20, 'p');
  const auto entry = [](const std::string& first, const std::string& second) {
    return R"({"id": "x", "conversations": [{"from": "human", "value": ")" + first +
           R"("}, {"from": "gpt", "value": ")" + second + "\"}]}";
  };
  testing::write_file(dir_ / "s.json", "[" + entry(prompt, "answer") + "," + entry("abc", "answer") + "," +
                                           entry(prompt, "ab") + "," + entry(std::string(1025, 'x'), "answer") + "," +
                                           entry(prompt, std::string(2048, 'y')) +
                                           R"(, {"conversations": []}, {"conversations": [1, 2]}, 3])");
  options_.count = 0;
  const auto prompts = read_sharegpt_dataset(dir_ / "s.json", options_, tokens);
  ASSERT_EQ(prompts.size(), 1U);
  EXPECT_EQ(std::get<std::string>(prompts[0].prompt), prompt);
  EXPECT_EQ(prompts[0].prompt_tokens, 20U);
  EXPECT_EQ(prompts[0].output_tokens, 6U);
  options_.output_len = 2;
  EXPECT_EQ(read_sharegpt_dataset(dir_ / "s.json", options_, tokens).size(), 3U);
  testing::write_file(dir_ / "t.json", "[]");
  EXPECT_THROW(read_sharegpt_dataset(dir_ / "t.json", options_, tokens), Error);
}

}  // namespace
}  // namespace outrider
