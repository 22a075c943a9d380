#include "outrider/decoding/speculative_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;

SpeculativeConfig parse(std::string_view json) {
  return parse_speculative_config(json, "models/v4", [](const std::string&) {});
}

std::string refusal(std::string_view json) {
  try {
    parse(json);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

std::size_t tokens(std::string_view json) {
  return parse(json).num_speculative_tokens;
}

TEST(SpeculativeConfig, ReadsVllmsFields) {
  EXPECT_EQ(tokens(R"({"method": "mtp", "num_speculative_tokens": 3})"), 3U);
  EXPECT_EQ(tokens(R"({"method": "deepseek_mtp", "num_speculative_tokens": 8})"), 8U);
  EXPECT_FALSE(parse(R"({"num_speculative_tokens": 1})").automatic);
  for (const char* automatic : {"{}", R"({"num_speculative_tokens": "auto"})", R"({"num_speculative_tokens": null})"}) {
    EXPECT_EQ(tokens(automatic), kAutomaticTokens);
    EXPECT_TRUE(parse(automatic).automatic);
  }
  EXPECT_THAT(refusal(R"({"num_speculative_tokens": "many"})"), HasSubstr("from 1 to 8, or \"auto\""));
}

TEST(SpeculativeConfig, TheMethodDecidesTheDrafter) {
  EXPECT_EQ(parse("{}").method, "");
  EXPECT_EQ(parse(R"({"method": null})").method, "");
  EXPECT_EQ(parse(R"({"method": "deepseek_mtp"})").method, "mtp");
  EXPECT_EQ(parse(R"({"method": "ngram", "num_speculative_tokens": 4})").method, "ngram");
  EXPECT_EQ(parse(R"({"model": "[ngram]", "num_speculative_tokens": 4})").method, "ngram");
}

TEST(SpeculativeConfig, PromptLookupHasVllmsDefaults) {
  const auto lengths = [](const std::string& fields) {
    const SpeculativeConfig config = parse(R"({"method": "ngram", "num_speculative_tokens": 4)" + fields + "}");
    return std::pair(config.prompt_lookup_min, config.prompt_lookup_max);
  };
  EXPECT_EQ(lengths(""), std::pair(std::size_t{5}, std::size_t{5}));
  EXPECT_EQ(lengths(R"(, "prompt_lookup_max": 4)"), std::pair(std::size_t{4}, std::size_t{4}));
  EXPECT_EQ(lengths(R"(, "prompt_lookup_min": 7)"), std::pair(std::size_t{7}, std::size_t{7}));
  EXPECT_EQ(lengths(R"(, "prompt_lookup_min": 2, "prompt_lookup_max": 4)"), std::pair(std::size_t{2}, std::size_t{4}));
  EXPECT_THAT(refusal(R"({"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 0})"),
              HasSubstr("prompt_lookup_max"));
  EXPECT_THAT(
      refusal(R"({"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 4, "prompt_lookup_max": 3})"),
      HasSubstr("4 exceeds prompt_lookup_max 3"));
  EXPECT_TRUE(parse(R"({"method": "ngram", "prompt_lookup_max": 4})").automatic);
  EXPECT_THAT(refusal(R"({"method": "mtp", "prompt_lookup_max": 4})"), HasSubstr("\"prompt_lookup_max\" requires"));
}

TEST(SpeculativeConfig, AcceptsFieldsThatDescribeItsBehaviour) {
  EXPECT_EQ(tokens(R"({"method": "mtp", "num_speculative_tokens": 2, "draft_sample_method": "probabilistic"})"), 2U);
  EXPECT_EQ(tokens(R"({"num_speculative_tokens": 2, "draft_sample_method": "greedy"})"), 2U);
  EXPECT_EQ(tokens(R"({"num_speculative_tokens": 3, "rejection_sample_method": "standard"})"), 3U);
  EXPECT_EQ(tokens(R"({"model": "models/v4", "max_model_len": null, "parallel_drafting": false})"), kAutomaticTokens);
  std::vector<std::string> notes;
  parse_speculative_config(R"({"attention_backend": "B12X_MLA_SPARSE", "draft_tensor_parallel_size": 8})", "",
                           [&](const std::string& note) { notes.push_back(note); });
  EXPECT_THAT(notes, ::testing::ElementsAre(HasSubstr("attention_backend"), HasSubstr("draft_tensor_parallel")));
}

TEST(SpeculativeConfig, RefusesUnsupportedBehaviour) {
  EXPECT_THAT(refusal(R"({"method": "dflash", "num_speculative_tokens": 5, "draft_sample_method": "probabilistic"})"),
              ::testing::AllOf(HasSubstr("\"dflash\" is not supported"), HasSubstr("--no-speculation")));
  EXPECT_THAT(refusal(R"({"method": "suffix"})"), HasSubstr("\"suffix\" is not supported"));
  EXPECT_THAT(refusal(R"({"rejection_sample_method": "synthetic"})"), HasSubstr("cannot be \"synthetic\""));
  EXPECT_THAT(refusal(R"({"rejection_sample_method": "block"})"), HasSubstr("cannot be \"block\""));
  EXPECT_THAT(refusal(R"({"draft_sample_method": 1})"), HasSubstr("draft_sample_method"));
  EXPECT_THAT(refusal(R"({"model": "elsewhere"})"), HasSubstr("\"elsewhere\""));
  EXPECT_THAT(refusal(R"({"parallel_drafting": true})"), HasSubstr("as it was trained"));
  EXPECT_THAT(refusal(R"({"enable_adaptive_verification": true})"), HasSubstr("\"auto\""));
}

TEST(SpeculativeConfig, ErrorsNameTheField) {
  EXPECT_THAT(refusal("mtp"), HasSubstr("--speculative-config"));
  EXPECT_THAT(refusal("[1]"), HasSubstr("object"));
  EXPECT_THAT(refusal(R"({"methods": "mtp"})"), HasSubstr("methods"));
  EXPECT_THAT(refusal(R"({"method": "eagle"})"), HasSubstr("eagle"));
  EXPECT_THAT(refusal(R"({"num_speculative_tokens": 0})"), HasSubstr("1 to 8"));
  EXPECT_THAT(refusal(R"({"num_speculative_tokens": 9})"), HasSubstr("1 to 8"));
  EXPECT_THAT(refusal(R"({"num_speculative_tokens": "1"})"), HasSubstr("1 to 8"));
}

}  // namespace
}  // namespace outrider
