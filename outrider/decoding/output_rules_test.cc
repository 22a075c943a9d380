#include "outrider/decoding/output_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace outrider {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Ids = std::vector<std::uint32_t>;

constexpr std::uint32_t kRuleVocabulary = 8;
constexpr float kNever = -std::numeric_limits<float>::infinity();

// The tokens that may follow, of `possible`, or of all if it is empty.
Ids allowed(const OutputRuleMask& mask, const Ids& possible = {}) {
  std::vector<float> logits(kRuleVocabulary, possible.empty() ? 1.0F : kNever);
  for (const std::uint32_t id : possible) logits[id] = 1;
  mask.apply(logits, !possible.empty());
  Ids out;
  for (std::uint32_t id = 0; id < kRuleVocabulary; ++id) {
    if (logits[id] != kNever) out.push_back(id);
  }
  return out;
}

void advance(OutputRuleMask& mask, const Ids& tokens) {
  for (const std::uint32_t token : tokens) mask.advance(token);
}

TEST(OutputRules, AllowOnlyWhatIsListed) {
  OutputRules rules;
  rules.allowed_token_ids = Ids{5, 0, 6, 5};
  const OutputRuleMask mask(rules, {});
  EXPECT_THAT(allowed(mask), ElementsAre(0, 5, 6));
  EXPECT_THAT(allowed(mask, {3, 5}), ElementsAre(5));
  EXPECT_THAT(allowed(mask, {3}), IsEmpty());
}

TEST(OutputRules, ForbidTheLastTokenOfABadWordAfterTheOthers) {
  OutputRules rules;
  rules.bad_words = {{1}, {2, 2, 3}, {4, 5}};
  const Ids prompt = {2, 2};  // does not count
  OutputRuleMask mask(rules, prompt);
  EXPECT_THAT(allowed(mask), ElementsAre(0, 2, 3, 4, 5, 6, 7));
  advance(mask, {2, 2});
  EXPECT_THAT(allowed(mask), ElementsAre(0, 2, 4, 5, 6, 7));
  mask.advance(4);
  EXPECT_THAT(allowed(mask), ElementsAre(0, 2, 3, 4, 6, 7));
  mask.rollback(1);
  EXPECT_THAT(allowed(mask), ElementsAre(0, 2, 4, 5, 6, 7));
}

TEST(OutputRules, MinTokensForbidTheEnd) {
  OutputRules rules;
  rules.min_tokens = 2;
  rules.end_tokens = {1, 6, 1};
  OutputRuleMask mask(rules, {});
  mask.advance(0);
  EXPECT_THAT(allowed(mask), ElementsAre(0, 2, 3, 4, 5, 7));
  // Where a grammar allows nothing else, the output may end.
  EXPECT_THAT(allowed(mask, {1, 2}), ElementsAre(2));
  EXPECT_THAT(allowed(mask, {1}), ElementsAre(1));
  mask.advance(0);
  EXPECT_EQ(allowed(mask).size(), kRuleVocabulary);
  mask.rollback(1);
  EXPECT_EQ(allowed(mask).size(), kRuleVocabulary - 2);
}

TEST(OutputRules, EndThinkingAtItsBudget) {
  OutputRules rules;
  rules.thinking_budget = {6, 7, 3};
  rules.bad_words = {{7}};  // less than the budget
  OutputRuleMask mask(rules, Ids{6, 1, 7, 6, 1});
  EXPECT_EQ(allowed(mask).size(), kRuleVocabulary - 1);
  advance(mask, {2, 3});
  EXPECT_THAT(allowed(mask), ElementsAre(7));
  // A grammar may need another token first.
  EXPECT_THAT(allowed(mask, {2, 7}), ElementsAre(7));
  EXPECT_THAT(allowed(mask, {2, 3}), ElementsAre(2, 3));
  mask.advance(7);
  EXPECT_EQ(allowed(mask).size(), kRuleVocabulary - 1);
  mask.rollback(2);
  EXPECT_EQ(allowed(mask).size(), kRuleVocabulary - 1);
  mask.advance(3);
  EXPECT_THAT(allowed(mask), ElementsAre(7));
  advance(mask, {7, 6, 1, 1});
  EXPECT_EQ(allowed(mask).size(), kRuleVocabulary - 1);
  mask.advance(1);
  EXPECT_THAT(allowed(mask), ElementsAre(7));
  // Outside of thinking there is no budget.
  EXPECT_EQ(allowed(OutputRuleMask(rules, Ids{6, 7, 1, 1, 1, 1})).size(), kRuleVocabulary - 1);
  rules.thinking_budget->tokens = 0;
  EXPECT_THAT(allowed(OutputRuleMask(rules, Ids{6})), ElementsAre(7));
}

}  // namespace
}  // namespace outrider
