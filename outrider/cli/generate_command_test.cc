// The program itself, on the bundled model.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::ProcessResult;
using testing::run;

const std::string kModel = std::string("'") + OUTRIDER_SOURCE_DIR + "/models/deepseek-v4-kjv'";
const std::string kGenerate = std::string("'") + OUTRIDER_BINARY + "' generate " + kModel + " ";

TEST(GenerateCommand, WritesTextAndSaysWhatWasAccepted) {
  const ProcessResult result = run(kGenerate + "-p 'Genesis 11\n\n' -n 48");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("1 And "));
  EXPECT_THAT(result.output, HasSubstr("acceptance "));
  EXPECT_THAT(result.output, HasSubstr("acceptance length"));
}

TEST(GenerateCommand, SpeculationDoesNotChangeTheText) {
  const std::string rest = "-p 'Exodus 21\n\n' -n 64 2>/dev/null ";
  const std::string plain = run(kGenerate + rest + "--no-speculation").output;
  EXPECT_GT(plain.size(), 60U);
  EXPECT_EQ(run(kGenerate + rest).output, plain);
  EXPECT_EQ(run(kGenerate + rest + R"(--speculative-config '{"method":"mtp","num_speculative_tokens":3}')").output,
            plain);
  EXPECT_EQ(run("printf 'Exodus 21\n\n' | " + kGenerate + "-n 64 2>/dev/null").output, plain);
}

TEST(GenerateCommand, StopsBeforeAStopText) {
  const std::string rest = "-p 'Exodus 21\n\n' -n 64 2>/dev/null ";
  const std::string plain = run(kGenerate + rest).output;
  const std::string stopped = run(kGenerate + rest + "--stop '\n2'").output;
  EXPECT_EQ(stopped, plain.substr(0, plain.find("\n2")) + "\n");
}

TEST(GenerateCommand, ChatsAndSamples) {
  const ProcessResult chat = run(kGenerate + "--chat -p 'Psalms 23' -n 24 --temperature 0.8 --seed 5 2>/dev/null");
  EXPECT_EQ(chat.exit_status, 0) << chat.output;
  EXPECT_THAT(chat.output, HasSubstr("1 "));
  EXPECT_EQ(run(kGenerate + "--chat -p 'Psalms 23' -n 24 --temperature 0.8 --seed 5 2>/dev/null").output, chat.output);
}

TEST(GenerateCommand, RefusesInASentence) {
  const auto refused = [](const std::string& arguments, const std::string& because) {
    const ProcessResult result = run(kGenerate + arguments);
    EXPECT_EQ(result.exit_status, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(because));
    EXPECT_THAT(result.output, Not(HasSubstr("tokens/s")));
  };
  refused("-p ''", "prompt is empty");
  refused("-f /nonexistent", "/nonexistent");
  refused("-p a -n 2000000", "max_position_embeddings");
  refused("-p a --temperature -1", "temperature");
  refused(R"(-p a --speculative-config '{"method":"eagle"}')", "eagle");
  refused(R"(-p a --speculative-config '{"tokens":2}')", "tokens");
}

TEST(GenerateCommand, AnIncompleteCheckpointIsRefusedByName) {
  testing::TempDir dir;
  const std::string copy = "'" + dir.path().string() + "/model'";
  // The index no longer knows the head, and neither does the shard: its name is overwritten in the header.
  ASSERT_EQ(run("cp -r " + kModel + " " + copy + " && cd " + copy +
                " && sed -i 's/\"head\\.weight\"/\"hand.weight\"/' *.safetensors *.index.json")
                .exit_status,
            0);
  const ProcessResult result = run(std::string("'") + OUTRIDER_BINARY + "' generate " + copy + " -p a");
  EXPECT_EQ(result.exit_status, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("head.weight"));
}

}  // namespace
}  // namespace outrider
