#include "outrider/decoding/speculative_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;

std::string refusal(std::string_view json) {
  try {
    parse_speculative_config(json, "models/v4");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

std::size_t tokens(std::string_view json) {
  return parse_speculative_config(json, "models/v4").num_speculative_tokens;
}

TEST(SpeculativeConfig, ReadsWhatVllmTakes) {
  EXPECT_EQ(tokens(R"({"method": "mtp", "num_speculative_tokens": 3})"), 3U);
  EXPECT_EQ(tokens(R"({"method": "deepseek_mtp", "num_speculative_tokens": 8})"), 8U);
  EXPECT_EQ(tokens("{}"), 1U);
}

TEST(SpeculativeConfig, TakesFieldsThatNameWhatIsDone) {
  EXPECT_EQ(tokens(R"({"method": "mtp", "num_speculative_tokens": 2, "draft_sample_method": "probabilistic"})"), 2U);
  EXPECT_EQ(tokens(R"({"num_speculative_tokens": 2, "draft_sample_method": "greedy"})"), 2U);
  EXPECT_EQ(tokens(R"({"num_speculative_tokens": 3, "rejection_sample_method": "standard"})"), 3U);
  EXPECT_EQ(tokens(R"({"model": "models/v4", "max_model_len": null, "parallel_drafting": false})"), 1U);
  const SpeculativeConfig config =
      parse_speculative_config(R"({"attention_backend": "B12X_MLA_SPARSE", "draft_tensor_parallel_size": 8})", "");
  EXPECT_THAT(config.notes, ::testing::ElementsAre(HasSubstr("attention_backend"), HasSubstr("draft_tensor_parallel")));
}

TEST(SpeculativeConfig, RefusesWhatIsNotDone) {
  EXPECT_THAT(refusal(R"({"method": "dspark", "num_speculative_tokens": 5, "draft_sample_method": "probabilistic"})"),
              ::testing::AllOf(HasSubstr("\"dspark\" is not run"), HasSubstr("--no-speculation")));
  EXPECT_THAT(refusal(R"({"method": "ngram", "prompt_lookup_max": 4})"), HasSubstr("\"ngram\" is not run"));
  EXPECT_THAT(refusal(R"({"rejection_sample_method": "synthetic"})"), HasSubstr("cannot be \"synthetic\""));
  EXPECT_THAT(refusal(R"({"rejection_sample_method": "block"})"), HasSubstr("cannot be \"block\""));
  EXPECT_THAT(refusal(R"({"draft_sample_method": 1})"), HasSubstr("draft_sample_method"));
  EXPECT_THAT(refusal(R"({"model": "elsewhere"})"), HasSubstr("\"elsewhere\""));
  EXPECT_THAT(refusal(R"({"parallel_drafting": true})"), HasSubstr("one token after the other"));
}

TEST(SpeculativeConfig, RefusesTheRestByName) {
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
