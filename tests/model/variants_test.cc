// The bundled model in every storage form and naming in use.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "outrider/binding/open_plan.h"
#include "outrider/testing/error_message.h"
#include "tests/model/golden.h"

namespace outrider {
namespace {

using testing::advance;
using testing::largest_difference;
using testing::load_model;
using testing::Outcome;
using testing::SequenceWithMtp;

const std::vector<std::uint32_t> kTokens = [] {
  std::vector<std::uint32_t> tokens;
  for (std::uint32_t i = 0; i < 141; ++i) tokens.push_back(i * 37 % 2000);
  return tokens;
}();

Outcome outcome_of(const std::string& name, NumericMode mode) {
  const auto model = load_model(name, {mode});
  SequenceWithMtp sequence(*model, {kTokens.size(), 0});
  return advance(*model, sequence, kTokens, 0, kTokens.size() - 1);
}

class SoundVariant : public ::testing::TestWithParam<const char*> {};

TEST_P(SoundVariant, HasFiniteLogits) {
  for (const NumericMode mode : {NumericMode::kOfficial, NumericMode::kExact}) {
    const Outcome got = outcome_of(GetParam(), mode);
    for (const std::vector<float>& logits : {got.logits, got.mtp_logits}) {
      EXPECT_TRUE(std::all_of(logits.begin(), logits.end(), [](float v) { return std::isfinite(v); }));
      EXPECT_TRUE(logits.empty() || *std::max_element(logits.begin(), logits.end()) != 0.0F);
    }
    const std::string name = GetParam();
    EXPECT_EQ(got.mtp_logits.empty(), name == "huggingface-saved" || name == "transformers-saved" ||
                                          name == "transformers-saved-again" || name == "transformers-saved-quantised");
  }
}

INSTANTIATE_TEST_SUITE_P(All, SoundVariant,
                         ::testing::Values("official", "bf16", "float32", "huggingface", "huggingface-saved",
                                           "v3-names", "w4a16", "w4a16-aliases", "nvfp4", "nvfp4-modelopt", "fp8",
                                           "pruned", "scattered", "transformers-saved", "transformers-saved-again",
                                           "transformers-saved-with-mtp", "transformers-saved-quantised",
                                           "transformers-config", "hc-head-dotted", "wrapped", "checkpointed",
                                           "drafter-with-more-experts"),
                         testing::name_of_test);

// FP4 and FP8 with power-of-two scales are exact in BF16 and F32: the same model under other names and forms.
TEST(Variants, EqualValuesGiveEqualLogits) {
  const Outcome official = outcome_of("official", NumericMode::kExact);
  for (const char* name : {"bf16", "float32", "huggingface", "huggingface-saved", "v3-names", "scattered",
                           "transformers-saved", "transformers-saved-again", "transformers-saved-with-mtp",
                           "transformers-saved-quantised", "transformers-config", "hc-head-dotted", "wrapped"}) {
    const Outcome other = outcome_of(name, NumericMode::kExact);
    EXPECT_LT(largest_difference(other.logits, official.logits), 1e-4) << name;
    if (other.mtp_logits.empty()) continue;
    EXPECT_LT(largest_difference(other.mtp_logits, official.mtp_logits), 1e-4) << name;
  }
}

// Quantised further, the model stays close to itself.
TEST(Variants, OtherFormsAreClose) {
  const Outcome official = outcome_of("official", NumericMode::kExact);
  for (const char* name : {"w4a16", "w4a16-aliases", "nvfp4", "nvfp4-modelopt", "fp8"}) {
    const double distance = testing::relative_distance(outcome_of(name, NumericMode::kExact).logits, official.logits);
    EXPECT_LT(distance, 0.3) << name;
    fmt::print("{}: relative distance {:.4f}\n", name, distance);
  }
}

// Without speculation, a model with an unusable drafter runs, and its logits do not change.
TEST(Variants, AnUnusableDrafterIsAnErrorOnlyWithSpeculation) {
  for (const char* name : {"mtp-incomplete", "drafter-with-too-few-experts"}) {
    const auto path = testing::variant(name);
    const std::string message = testing::error_message(
        [&] { make_model(std::make_shared<const Weights>(open_plan(path)), ModelOptions{NumericMode::kExact}); });
    EXPECT_THAT(message, ::testing::HasSubstr("--no-speculation")) << name;
    const auto alone = make_model(std::make_shared<const Weights>(open_plan(path, DrafterLoading::kSkip)),
                                  ModelOptions{NumericMode::kExact});
    const Model& model = *alone;
    EXPECT_EQ(model.mtp_blocks(), 0U);
    SequenceWithMtp sequence(model, {kTokens.size(), 0});
    const Outcome got = advance(model, sequence, kTokens, 0, kTokens.size() - 1);
    EXPECT_LT(largest_difference(got.logits, outcome_of("official", NumericMode::kExact).logits), 1e-4) << name;
  }
}

TEST(Variants, AnIncompleteCheckpointIsRefusedWithEverythingMissing) {
  try {
    open_plan(testing::variant("no-head"));
    FAIL() << "it was loaded";
  } catch (const std::exception& e) {
    EXPECT_NE(std::string(e.what()).find("head.weight"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace outrider
