// Tests the guard against rejected drafts, through the program: the case of vLLM issue 43456.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"
#include "tests/model/golden.h"

namespace outrider {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ProcessResult;
using testing::run;
using testing::variant;

std::string outrider(const std::string& command, const std::filesystem::path& model) {
  return std::string("'") + OUTRIDER_BINARY + "' " + command + " '" + model.string() + "' ";
}

ProcessResult generate(const std::string& name, const std::string& arguments) {
  return run(outrider("generate", variant(name)) + "-p 'Genesis 11' --ignore-eos " + arguments);
}

TEST(GenerateWarnings, WarnsDuringGenerationAndAtTheEnd) {
  const ProcessResult result = generate("mtp-head-random", "-n 300");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  const std::size_t first = result.output.find("outrider: warning: Only ");
  ASSERT_NE(first, std::string::npos) << result.output;
  EXPECT_NE(result.output.find("outrider: warning: Only ", first + 1), std::string::npos);
  EXPECT_THAT(result.output, HasSubstr("mtp.0.head.weight differs from head.weight"));
}

TEST(GenerateWarnings, IsSilentIfTheHeadIsSharedOrCopied) {
  for (const char* name : {"official", "w4a16", "w4a16-aliases"}) {
    EXPECT_THAT(generate(name, "-n 600").output, Not(HasSubstr("warning"))) << name;
  }
}

TEST(GenerateWarnings, IsSilentWithoutSpeculation) {
  EXPECT_THAT(generate("mtp-head-random", "-n 300 --no-speculation").output, Not(HasSubstr("warning")));
}

// Low acceptance of n-grams says nothing about the checkpoint, whose own drafter is not even loaded.
TEST(GenerateWarnings, IsSilentIfTheDrafterIsNotTrained) {
  for (const char* name : {"official", "mtp-incomplete"}) {
    const ProcessResult result = generate(name,
                                          "-n 400 --temperature 3 --expect-acceptance 0.99 --speculative-config "
                                          R"('{"method":"ngram","num_speculative_tokens":1,"prompt_lookup_max":1}')");
    EXPECT_EQ(result.exit_status, 0) << result.output;
    EXPECT_THAT(result.output, HasSubstr("acceptance ")) << name;
    EXPECT_THAT(result.output, Not(HasSubstr("warning"))) << name;
  }
}

TEST(GenerateWarnings, ComparesWithTheExpectedAcceptance) {
  EXPECT_THAT(generate("official", "-n 600 --expect-acceptance 0.7").output, Not(HasSubstr("warning")));
  EXPECT_THAT(generate("mtp-head-random", "-n 300 --expect-acceptance 0.7 --temperature 1").output,
              AllOf(HasSubstr("--expect-acceptance says 70.0%"), HasSubstr("while sampling")));
  EXPECT_EQ(generate("official", "--expect-acceptance 70").exit_status, 2);
}

TEST(GenerateWarnings, ComparesWithTheModelCard) {
  testing::TempDir dir;
  std::filesystem::copy(variant("mtp-head-random"), dir.path() / "model");
  testing::write_file(dir.path() / "model" / "README.md",
                      "---\nmodel-index:\n- results:\n  - metrics:\n    - {type: mtp_acceptance, value: 0.62}\n---\n");
  const ProcessResult result = run(outrider("generate", dir.path() / "model") + "-p 'Genesis 11' --ignore-eos -n 300");
  EXPECT_THAT(result.output, HasSubstr("the model card says 62.0%"));
}

TEST(Probe, AcceptsASoundHead) {
  const ProcessResult result = run(outrider("check", variant("w4a16")) + "--probe --json");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  const auto probe = nlohmann::json::parse(result.output)["probe"];
  EXPECT_EQ(probe["prompts"], 8);
  EXPECT_GE(probe["drafts"], 256);
  EXPECT_GT(probe["acceptance_rate"], 0.5);
  EXPECT_THAT(run(outrider("check", variant("w4a16")) + "--probe").output, HasSubstr("drafts accepted"));
}

TEST(Probe, FindsARandomHeadAndItsCause) {
  const ProcessResult result = run(outrider("check", variant("mtp-head-random")) + "--probe");
  EXPECT_EQ(result.exit_status, 1) << result.output;
  EXPECT_THAT(result.output, HasSubstr("OUT090 error"));
  EXPECT_THAT(result.output, HasSubstr("OUT075"));
}

// A run shows whether the MTP block's own head was trained or damaged.
TEST(Probe, RecognisesAHeadTrainedOnPurpose) {
  const ProcessResult without = run(outrider("check", variant("mtp-head-trained")) + "--data");
  EXPECT_EQ(without.exit_status, 0) << without.output;
  EXPECT_THAT(without.output, AllOf(HasSubstr("OUT075 warning"), HasSubstr("--probe")));
  const ProcessResult with = run(outrider("check", variant("mtp-head-trained")) + "--data --probe --strict");
  EXPECT_EQ(with.exit_status, 0) << with.output;
  EXPECT_THAT(with.output, AllOf(HasSubstr("OUT043 note"), HasSubstr("relative error 2.0%"), HasSubstr("on purpose"),
                                 Not(HasSubstr("OUT075"))));
  const ProcessResult too_few =
      run(outrider("check", variant("mtp-head-random")) + "--data --probe --expect-acceptance 0.01");
  EXPECT_EQ(too_few.exit_status, 1) << too_few.output;
  EXPECT_THAT(too_few.output, AllOf(HasSubstr("OUT075 warning"), HasSubstr("OUT076 error")));
}

TEST(Probe, DoesNotRunAnIncompleteCheckpoint) {
  const ProcessResult result = run(outrider("check", variant("no-head")) + "--probe");
  EXPECT_EQ(result.exit_status, 1) << result.output;
  EXPECT_THAT(result.output, HasSubstr("head.weight"));
  EXPECT_THAT(result.output, Not(HasSubstr("drafts accepted")));
}

TEST(Probe, NeedsAnMtpBlock) {
  const ProcessResult result = run(outrider("check", variant("mtp-dropped")) + "--probe");
  EXPECT_EQ(result.exit_status, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("no MTP block to probe"));
}

}  // namespace
}  // namespace outrider
