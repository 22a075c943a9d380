#include "outrider/grammar/masks/grammar_mask.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "outrider/grammar/automaton/matcher.h"
#include "outrider/grammar/grammar.h"
#include "outrider/testing/bundled_model.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using testing::bundled_tokenizer;

std::shared_ptr<const TokenTrie> trie() {
  static const auto bundled = std::make_shared<const TokenTrie>(bundled_tokenizer());
  return bundled;
}

std::set<TokenId> allowed(TokenMask& mask) {
  std::vector<float> logits(bundled_tokenizer().id_limit() + 100, 1.0F);
  mask.apply(logits);
  std::set<TokenId> tokens;
  for (TokenId token = 0; token < logits.size(); ++token) {
    if (!std::isinf(logits[token])) tokens.insert(token);
  }
  return tokens;
}

// The reference: tries every token, byte by byte.
std::set<TokenId> allowed_by_trial(Matcher& matcher, Matcher::Position position) {
  std::set<TokenId> tokens;
  for (TokenId token = 0; token < bundled_tokenizer().id_limit(); ++token) {
    if (bundled_tokenizer().bytes(token).empty() || token == bundled_tokenizer().eos_id()) continue;
    if (!bundled_tokenizer().is_special(token) &&
        bundled_tokenizer().bytes(token).find('\xff') != std::string_view::npos)
      continue;
    std::string bytes = bundled_tokenizer().is_special(token) ? "\xff" : "";
    bytes += bundled_tokenizer().bytes(token);
    Matcher::Position at = position;
    for (const char byte : bytes) at = matcher.next(at, static_cast<std::uint8_t>(byte));
    if (at != Matcher::kDead) tokens.insert(token);
  }
  if (matcher.complete(position)) tokens.insert(*bundled_tokenizer().eos_id());
  return tokens;
}

std::vector<Grammar> grammars() {
  std::vector<Grammar> made;
  made.push_back(Grammar::json_object());
  made.push_back(Grammar::from_json_schema(ordered_json::parse(
      R"({"type":"object","properties":{"name":{"type":"string","maxLength":9},"kind":{"enum":["king","prophet"]},
          "sons":{"type":"array","items":{"$ref":"#"}},"age":{"type":"integer","minimum":0,"maximum":969},
          "verse":{"type":"string","pattern":"^[A-Z][a-z]+ \\d{1,3}:\\d{1,3}$"}},
          "required":["name"],"additionalProperties":{"type":["string","null"]}})")));
  MessageShape tools;
  tools.reasoning = true;
  tools.several_calls = true;
  tools.functions = {ordered_json::parse(
      R"({"name":"look_up","parameters":{"type":"object","properties":{"book":{"type":"string"},
          "chapter":{"type":"integer"},"mode":{"type":"string","enum":["short","long"]}},"required":["book"]}})")};
  made.push_back(Grammar::message(tools));
  return made;
}

// Generates random texts of each grammar from the masks: each mask equals what trying every token gives, and the
// grammar accepts the text.
TEST(GrammarMask, EqualsTryingEveryToken) {
  for (const Grammar& grammar : grammars()) {
    const auto shared = std::make_shared<const Grammar>(grammar);
    const auto table = std::make_shared<MaskTable>(shared, trie());
    for (unsigned seed = 0; seed < 6; ++seed) {
      std::mt19937 random(seed);
      const auto mask = make_mask(table);
      Matcher matcher(grammar.automaton());
      Matcher::Position position = matcher.start();
      std::string text;
      bool ended = false;
      for (int i = 0; i < 60 && !ended; ++i) {
        const std::set<TokenId> tokens = allowed(*mask);
        ASSERT_EQ(tokens, allowed_by_trial(matcher, position)) << text;
        ASSERT_FALSE(tokens.empty()) << text;
        const TokenId token = *std::next(tokens.begin(), static_cast<std::ptrdiff_t>(random() % tokens.size()));
        mask->advance(token);
        ended = token == *bundled_tokenizer().eos_id();
        if (ended) continue;
        for (const char byte : trie()->bytes(token)) {
          text += byte;
          position = matcher.next(position, static_cast<std::uint8_t>(byte));
        }
      }
      EXPECT_EQ(ended, ended && grammar.accepts(text)) << text;
    }
  }
}

TEST(GrammarMask, RollsBack) {
  const auto grammar = std::make_shared<const Grammar>(Grammar::json_object());
  const auto mask = make_mask(grammar, trie());
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    const std::set<TokenId> before = allowed(*mask);
    const std::size_t drafts = 1 + random() % 8;
    TokenId first = 0;
    for (std::size_t k = 0; k < drafts; ++k) {
      const std::set<TokenId> tokens = allowed(*mask);
      // Including the end token.
      const TokenId token = *std::next(tokens.begin(), static_cast<std::ptrdiff_t>(random() % tokens.size()));
      if (k == 0) first = token;
      mask->advance(token);
    }
    mask->rollback(drafts);
    ASSERT_EQ(allowed(*mask), before);
    if (first != *bundled_tokenizer().eos_id()) mask->advance(first);
  }
}

TEST(GrammarMask, FailsIfAMaskTakesTooLong) {
  const auto grammar = std::make_shared<const Grammar>(Grammar::json_object());
  const auto mask = make_mask(std::make_shared<MaskTable>(grammar, trie(), 1000));
  EXPECT_GT(allowed(*mask).size(), 0U);
  EXPECT_EQ(mask->error(), "");
  for (const TokenId token : bundled_tokenizer().encode("{\"a")) mask->advance(token);
  const std::set<TokenId> end = {*bundled_tokenizer().eos_id()};
  EXPECT_EQ(allowed(*mask), end);
  EXPECT_NE(mask->error().find("takes too long"), std::string_view::npos);
  EXPECT_EQ(allowed(*mask), end);
  mask->advance(*end.begin());
  mask->rollback(1);
  EXPECT_EQ(allowed(*mask), end);
}

// The mask of an accepted draft was computed before it was accepted.
TEST(GrammarMask, AMaskThatTookTooLongBehindADraftIsStillAnError) {
  const auto grammar = std::make_shared<const Grammar>(Grammar::json_object());
  const auto mask = make_mask(std::make_shared<MaskTable>(grammar, trie(), 1000));
  const std::vector<TokenId> tokens = bundled_tokenizer().encode("{\"a");
  for (const TokenId token : tokens) mask->advance(token);
  const std::set<TokenId> end = {*bundled_tokenizer().eos_id()};
  EXPECT_EQ(allowed(*mask), end);
  mask->rollback(tokens.size());
  EXPECT_EQ(mask->error(), "");
  for (const TokenId token : tokens) mask->advance(token);
  mask->advance(*end.begin());
  EXPECT_NE(mask->error(), "");
}

TEST(GrammarMask, AllowsOnlyTheEndTokenAfterTheEnd) {
  const auto grammar = std::make_shared<const Grammar>(Grammar::from_json_schema({{"const", 1}}));
  const auto mask = make_mask(grammar, trie());
  for (const TokenId token : bundled_tokenizer().encode("1")) mask->advance(token);
  const std::set<TokenId> end = {*bundled_tokenizer().eos_id()};
  EXPECT_EQ(allowed(*mask), end);
  mask->advance(*bundled_tokenizer().eos_id());
  EXPECT_EQ(allowed(*mask), end);
}

// More positions than a mask caches.
TEST(GrammarMask, DropsPositionsOfLongTexts) {
  const auto grammar = std::make_shared<const Grammar>(Grammar::json_object());
  const auto mask = make_mask(grammar, trie());
  const auto write = [&](std::string_view text) {
    for (const TokenId token : bundled_tokenizer().encode(text)) mask->advance(token);
  };
  write("{\"a\":");
  constexpr int kDepth = 30'000;
  for (int i = 0; i < kDepth; ++i) write("[");
  write("1");
  for (int i = 0; i < kDepth; ++i) {
    if (i == kDepth / 2) {
      EXPECT_FALSE(allowed(*mask).contains(*bundled_tokenizer().eos_id()));
    }
    write("]");
  }
  write("}");
  EXPECT_EQ(allowed(*mask), std::set<TokenId>{*bundled_tokenizer().eos_id()});
}

// Special tokens are not ordinary text, whatever their content.
TEST(GrammarMask, SpecialTokensAreNotText) {
  const auto grammar = std::make_shared<const Grammar>(Grammar::json_object());
  const auto mask = make_mask(grammar, trie());
  for (const TokenId token : bundled_tokenizer().encode("{\"a\": \"")) mask->advance(token);
  const std::set<TokenId> tokens = allowed(*mask);
  EXPECT_GT(tokens.size(), 1000U);
  for (const TokenId token : tokens) EXPECT_FALSE(bundled_tokenizer().is_special(token)) << token;
}

}  // namespace
}  // namespace outrider
