// Constrained output on a real model: with and without speculation, greedy and sampled, the output satisfies the
// constraint.

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "outrider/decoding/decoder.h"
#include "outrider/grammar/grammar.h"
#include "outrider/grammar/masks/grammar_mask.h"
#include "outrider/prompt/completion_parser.h"
#include "outrider/prompt/markup.h"
#include "outrider/prompt/prompt_ids.h"
#include "outrider/testing/every_drafter.h"
#include "outrider/tokenizer/tokenizer.h"
#include "tests/model/golden.h"

namespace outrider {
namespace {

using nlohmann::ordered_json;
using testing::load_model;

constexpr const char* kSchema = R"({
  "type": "object",
  "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 12},
    "kind": {"enum": ["king", "prophet", "priest"]},
    "age": {"type": "integer", "minimum": 1, "maximum": 969},
    "verse": {"type": "string", "pattern": "^[A-Z][a-z]{2,8} \\d{1,3}:\\d{1,3}$"},
    "sons": {"type": "array", "items": {"$ref": "#/$defs/son"}, "maxItems": 2}
  },
  "required": ["name", "kind", "age", "verse", "sons"],
  "$defs": {"son": {"type": "object", "properties": {"name": {"enum": ["Shem", "Ham"]}, "elder": {"type": "boolean"}},
                    "required": ["name"]}}
})";

class StructuredOutput : public ::testing::TestWithParam<const char*> {
 protected:
  struct Written {
    std::string text;
    bool stopped = false;
    SpeculationCounts counts;
  };

  Written write(const std::shared_ptr<MaskTable>& table, const char* prompt, std::size_t k, double temperature,
                std::uint64_t seed) {
    GenerationParams params;
    params.max_tokens = 1500;
    params.stop_token_ids = {*tokenizer_.eos_id()};
    params.sampling.temperature = temperature;
    params.seed = seed;
    const Decoder decoder = testing::make_decoder(*model_, GetParam(), k, 64);
    Generation generation = decoder.start(text_prompt_ids(tokenizer_, prompt), params);
    generation.constrain(make_mask(table));
    Generation* const running[] = {&generation};
    while (!generation.finished()) decoder.step(running);
    Written written;
    written.stopped = *generation.finished() == FinishReason::kStop;
    auto tokens = generation.tokens().subspan(generation.prompt_tokens());
    if (written.stopped) tokens = tokens.first(tokens.size() - 1);
    written.text = tokenizer_.decode(tokens, false);
    written.counts = generation.counts();
    return written;
  }

  std::shared_ptr<MaskTable> table(Grammar grammar) {
    return std::make_shared<MaskTable>(std::make_shared<const Grammar>(std::move(grammar)), trie_);
  }

  std::unique_ptr<Model> model_ = load_model(testing::model_of(GetParam()), {});
  Tokenizer tokenizer_ = Tokenizer::open(OUTRIDER_VARIANTS "/official");
  std::shared_ptr<const TokenTrie> trie_ = std::make_shared<const TokenTrie>(tokenizer_);
};

INSTANTIATE_TEST_SUITE_P(All, StructuredOutput, ::testing::ValuesIn(testing::kEveryDrafter),
                         [](const auto& test) { return std::string(test.param); });

constexpr const char* kPrompts[] = {"In the beginning", "And the sons of Noah, that went forth of the ark, were"};

TEST_P(StructuredOutput, SatisfiesTheSchemaWithAndWithoutDrafts) {
  const auto schema = table(Grammar::from_json_schema(ordered_json::parse(kSchema)));
  std::uint64_t accepted = 0;
  for (const char* prompt : kPrompts) {
    std::string greedy;
    for (const std::size_t k : {0, 1, 3}) {
      for (const double temperature : {0.0, 0.8, 1.5}) {
        const Written written = write(schema, prompt, k, temperature, 11 + k);
        ASSERT_TRUE(written.stopped) << written.text;
        const ordered_json object = ordered_json::parse(written.text);
        ASSERT_EQ(object.size(), 5U) << written.text;
        EXPECT_TRUE(object["kind"] == "king" || object["kind"] == "prophet" || object["kind"] == "priest");
        EXPECT_GE(object["age"].get<int>(), 1);
        EXPECT_LE(object["age"].get<int>(), 969);
        EXPECT_LE(object["sons"].size(), 2U);
        EXPECT_NE(object["verse"].get<std::string>().find(':'), std::string::npos);
        accepted += written.counts.accepted_tokens;
        if (temperature != 0) continue;
        if (k == 0) greedy = written.text;
        EXPECT_EQ(written.text, greedy) << k;
      }
    }
  }
  EXPECT_GT(accepted, 0U);
}

TEST_P(StructuredOutput, ToolCallsCanBeParsed) {
  MessageShape shape;
  shape.functions = {ordered_json::parse(R"({"name": "look_up", "parameters": {"type": "object", "properties": {
      "book": {"type": "string", "maxLength": 9}, "chapter": {"type": "integer", "minimum": 1, "maximum": 150}},
      "required": ["book", "chapter"]}})")};
  const auto at_once = table(Grammar::message(shape));
  std::string greedy;
  for (const std::size_t k : {0, 1, 3}) {
    const Written written = write(at_once, "And God said", k, 0, 1);
    ASSERT_TRUE(written.stopped) << written.text;
    const Completion read = parse_completion(written.text + std::string(markup::kEndOfSentence), ThinkingMode::kChat);
    ASSERT_EQ(read.tool_calls.size(), 1U);
    EXPECT_EQ(read.tool_calls[0].name, "look_up");
    const ordered_json arguments = ordered_json::parse(read.tool_calls[0].arguments);
    EXPECT_TRUE(arguments["book"].is_string());
    EXPECT_GE(arguments["chapter"].get<int>(), 1);
    if (k == 0) greedy = written.text;
    EXPECT_EQ(written.text, greedy) << k;
  }
}

// Sampling at a high temperature produces arbitrary bytes; strings must be valid JSON all the same.
TEST_P(StructuredOutput, StringsAreTextAtAnyTemperature) {
  const auto schema = table(Grammar::from_json_schema(ordered_json::parse(
      R"({"type": "array", "items": {"type": "string", "maxLength": 40}, "minItems": 3, "maxItems": 3})")));
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const Written written = write(schema, "", 1 + seed % 3, 5.0, seed);
    ASSERT_TRUE(written.stopped) << written.text;
    EXPECT_EQ(ordered_json::parse(written.text).size(), 3U) << written.text;
  }
}

}  // namespace
}  // namespace outrider
