#include "outrider/benchmark/prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "outrider/util/error.h"

namespace outrider {
namespace {

const std::vector<TokenId> kTokens = {3, 4, 5, 7, 8, 11};

const std::vector<TokenId>& ids(const BenchmarkPrompt& prompt) {
  return std::get<std::vector<TokenId>>(prompt.prompt);
}

TEST(RandomPrompts, AreConsecutiveTokensOfTheRequestedLengths) {
  RandomPromptOptions options;
  options.count = 50;
  options.input_len = 10;
  options.output_len = 4;
  const auto prompts = random_prompts(options, kTokens);
  ASSERT_EQ(prompts.size(), 50U);
  std::set<TokenId> first;
  for (const BenchmarkPrompt& prompt : prompts) {
    const std::vector<TokenId> tokens = ids(prompt);
    ASSERT_EQ(tokens.size(), 10U);
    EXPECT_EQ(prompt.prompt_tokens, 10U);
    EXPECT_EQ(prompt.output_tokens, 4U);
    first.insert(tokens[0]);
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto at = std::ranges::find(kTokens, tokens[i]);
      ASSERT_NE(at, kTokens.end());
      EXPECT_EQ(tokens[i + 1], std::next(at) == kTokens.end() ? kTokens.front() : *std::next(at));
    }
  }
  EXPECT_EQ(first.size(), kTokens.size());
}

TEST(RandomPrompts, VaryWithinTheRangeAndShareThePrefix) {
  RandomPromptOptions options;
  options.count = 300;
  options.input_len = 10;
  options.output_len = 4;
  options.range_ratio = 0.5;
  options.prefix_len = 3;
  const auto prompts = random_prompts(options, kTokens);
  std::set<std::size_t> inputs;
  std::set<std::size_t> outputs;
  for (const BenchmarkPrompt& prompt : prompts) {
    inputs.insert(prompt.prompt_tokens);
    outputs.insert(prompt.output_tokens);
    EXPECT_EQ(ids(prompt).size(), prompt.prompt_tokens);
    EXPECT_TRUE(std::equal(ids(prompt).begin(), ids(prompt).begin() + 3, ids(prompts[0]).begin()));
  }
  EXPECT_EQ(*inputs.begin(), 8U);
  EXPECT_EQ(*inputs.rbegin(), 18U);
  EXPECT_THAT(outputs, ::testing::ElementsAre(2, 3, 4, 5, 6));
}

TEST(RandomPrompts, AreTheSameForTheSameSeed) {
  RandomPromptOptions options;
  options.count = 20;
  const auto all = [&] {
    std::vector<std::vector<TokenId>> out;
    for (const BenchmarkPrompt& prompt : random_prompts(options, kTokens)) out.push_back(ids(prompt));
    return out;
  };
  const auto once = all();
  EXPECT_EQ(all(), once);
  options.seed = 1;
  EXPECT_NE(all(), once);
}

TEST(RandomPrompts, RejectInvalidOptions) {
  RandomPromptOptions options;
  EXPECT_THROW(random_prompts(options, {}), Error);
  options.range_ratio = 1;
  EXPECT_THROW(random_prompts(options, kTokens), Error);
  options.range_ratio = 0.9;
  options.input_len = 1;
  EXPECT_THROW(random_prompts(options, kTokens), Error);
  options.prefix_len = 1;
  EXPECT_NO_THROW(random_prompts(options, kTokens));
}

}  // namespace
}  // namespace outrider
