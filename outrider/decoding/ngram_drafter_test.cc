#include "outrider/decoding/ngram_drafter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using Tokens = std::vector<std::uint32_t>;

Tokens look_up(const Tokens& tokens, NgramLengths lengths, std::size_t count) {
  const auto found = look_up_ngram(tokens, lengths, count).tokens;
  return {found.begin(), found.end()};
}

// The definition: prefers the longest n-gram, then its earliest occurrence.
Tokens by_definition(const Tokens& tokens, NgramLengths lengths, std::size_t count) {
  for (std::size_t n = std::min(lengths.max, tokens.size()); n >= lengths.min; --n) {
    for (std::size_t at = 0; at + n < tokens.size(); ++at) {
      const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(at);
      if (!std::equal(begin, begin + static_cast<std::ptrdiff_t>(n), tokens.end() - static_cast<std::ptrdiff_t>(n)))
        continue;
      const auto followed = begin + static_cast<std::ptrdiff_t>(n);
      return {followed, followed + std::min(static_cast<std::ptrdiff_t>(count), tokens.end() - followed)};
    }
  }
  return {};
}

TEST(NgramDrafter, PrefersTheEarliestOfTheLongestMatches) {
  EXPECT_EQ(look_up({1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3}, {2, 3}, 2), (Tokens{4, 1}));
  // [4, 2, 3] does not occur before, [2, 3] does.
  EXPECT_EQ(look_up({1, 2, 3, 4, 2, 3}, {2, 3}, 4), (Tokens{4, 2, 3}));
  EXPECT_EQ(look_up({7, 3, 1, 2, 3, 9, 2, 3}, {1, 3}, 1), (Tokens{9}));  // two tokens, although one occurs earlier
  EXPECT_EQ(look_up({5, 5, 5, 5}, {1, 3}, 9), (Tokens{5}));              // matches may overlap
}

TEST(NgramDrafter, FindsNothingWithoutRepetition) {
  EXPECT_EQ(look_up({}, {1, 3}, 2), Tokens{});
  EXPECT_EQ(look_up({1}, {1, 3}, 2), Tokens{});
  EXPECT_EQ(look_up({1, 2, 3}, {1, 3}, 2), Tokens{});
  EXPECT_EQ(look_up({1, 2, 9, 2}, {2, 3}, 2), Tokens{});
  EXPECT_EQ(look_up({1, 2, 1, 2}, {2, 9}, 0), Tokens{});
}

TEST(NgramDrafter, MatchesTheDefinition) {
  std::mt19937 engine(1);
  const auto random = [&] { return static_cast<std::uint32_t>(engine()); };
  for (int i = 0; i < 20'000; ++i) {
    Tokens tokens(random() % 24);
    const std::uint32_t vocabulary = 1 + random() % 3;
    for (std::uint32_t& token : tokens) token = random() % vocabulary;
    const std::size_t min = 1 + random() % 4;
    const NgramLengths lengths = {min, min + random() % 4};
    const std::size_t count = random() % 6;
    ASSERT_EQ(look_up(tokens, lengths, count), by_definition(tokens, lengths, count))
        << ::testing::PrintToString(tokens) << " " << lengths.min << " " << lengths.max << " " << count;
  }
}

// A search that restarts at each position would take hours.
TEST(NgramDrafter, LongSequencesTakeLinearTime) {
  Tokens tokens(1'000'000, 7);
  tokens.back() = 8;
  tokens[tokens.size() / 2] = 8;
  EXPECT_EQ(look_up(tokens, {1, 400'000}, 3), (Tokens{7, 7, 7}));
}

TEST(NgramDrafter, RefusesContradictoryLengths) {
  EXPECT_THROW(NgramDrafter({0, 3}), Error);
  EXPECT_THROW(NgramDrafter({4, 3}), Error);
}

TEST(NgramDrafter, EachDraftTokenHasProbabilityOne) {
  const NgramDrafter drafter({1, 3});
  const Tokens repeated = {1, 2, 3, 1};
  const Tokens other = {4, 5, 6};
  const DraftItem items[] = {{nullptr, repeated, 2, nullptr}, {nullptr, other, 2, nullptr}};
  const auto drafts = drafter.draft(items);
  ASSERT_EQ(drafts.size(), 2U);
  ASSERT_EQ(drafts[0].size(), 2U);
  EXPECT_EQ(drafts[0][0].id, 2U);
  EXPECT_EQ(drafts[0][1].id, 3U);
  EXPECT_EQ(drafts[0][1].distribution.probability(3), 1);
  EXPECT_EQ(drafts[0][1].distribution.probability(2), 0);
  EXPECT_TRUE(drafts[1].empty());
  EXPECT_TRUE(drafter.target_layers().empty());
  EXPECT_EQ(drafter.new_state({100, 16}), nullptr);
}

}  // namespace
}  // namespace outrider
