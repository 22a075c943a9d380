// Tests of the program itself, on the bundled model.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/testing/command_line.h"
#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using testing::kBinary;
using testing::kModel;
using ::testing::Not;
using testing::ProcessResult;
using testing::run;

const std::string kGenerate = kBinary + " generate " + kModel + " ";

TEST(GenerateCommand, PrintsTheOutputAndTheAcceptance) {
  const ProcessResult result = run(kGenerate + "-p 'Genesis 11\n\n' -n 48");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("1 And "));
  EXPECT_THAT(result.output, HasSubstr("acceptance "));
  EXPECT_THAT(result.output, HasSubstr("acceptance length"));
}

TEST(GenerateCommand, SpeculationDoesNotChangeTheOutput) {
  const std::string rest = "-p 'Exodus 21\n\n' -n 64 2>/dev/null ";
  const std::string plain = run(kGenerate + rest + "--no-speculation").output;
  EXPECT_GT(plain.size(), 60U);
  EXPECT_EQ(run(kGenerate + rest).output, plain);
  EXPECT_EQ(run(kGenerate + rest + R"(--speculative-config '{"method":"mtp","num_speculative_tokens":3}')").output,
            plain);
  const ProcessResult looked_up = run(
      kGenerate + rest +
      R"(--speculative-config '{"method":"ngram","num_speculative_tokens":4,"prompt_lookup_min":1,"prompt_lookup_max":3}')");
  EXPECT_EQ(looked_up.output, plain);
  EXPECT_EQ(run("printf 'Exodus 21\n\n' | " + kGenerate + "-n 64 2>/dev/null").output, plain);
}

TEST(GenerateCommand, StopsBeforeAStopString) {
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

// Runs the program on a terminal and types `keys`.
ProcessResult on_a_terminal(const std::string& arguments, const std::string& keys) {
  testing::TempDir dir;
  const std::string script = (dir.path() / "command").string();
  testing::write_file(script, "NO_COLOR=1 " + kGenerate + arguments + "\n");
  return run("printf '" + keys + "' | timeout 60 script -qec 'sh " + script + "' /dev/null");
}

TEST(GenerateCommand, OnATerminalEachLineIsAPrompt) {
  const ProcessResult result = on_a_terminal("-n 12", R"(Genesis 11\n\nExodus 21\n\004)");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("each line is a prompt"));
  std::size_t outputs = 0;
  for (std::size_t at = 0; (at = result.output.find("numerics", at)) != std::string::npos; ++at) ++outputs;
  EXPECT_EQ(outputs, 2U) << result.output;
}

TEST(GenerateCommand, OnATerminalAChatIsOneConversation) {
  const ProcessResult result = on_a_terminal("--chat -n 12", R"(Psalms 23\nPsalms 24\n\004)");
  EXPECT_EQ(result.exit_status, 0) << result.output;
  const std::size_t first = result.output.find("prefill   ");
  ASSERT_NE(first, std::string::npos) << result.output;
  const std::size_t second = result.output.find("prefill   ", first + 1);
  ASSERT_NE(second, std::string::npos) << result.output;
  const auto tokens = [&](std::size_t at) { return std::stoi(result.output.substr(at + 10)); };
  EXPECT_GT(tokens(second), tokens(first) + 12);
  // Up to the end of the reply, the second prompt is what has been processed.
  const std::size_t cached = result.output.find(" cached", second);
  ASSERT_NE(cached, std::string::npos) << result.output;
  const std::size_t number = result.output.rfind('(', cached) + 1;
  EXPECT_GE(std::stoi(result.output.substr(number)), tokens(first)) << result.output;
}

TEST(GenerateCommand, RejectsASequenceThatDoesNotFitIntoMemory) {
  if (run("ulimit -d 150000; '" OUTRIDER_BINARY "' --version").exit_status != 0) {
    GTEST_SKIP() << "the program does not start under a limit on memory (sanitizers)";
  }
  const ProcessResult result = run("ulimit -d 150000; " + kGenerate + "-p a -n 1000000");
  EXPECT_EQ(result.exit_status, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("are available"));
}

TEST(GenerateCommand, RejectsInvalidOptions) {
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
  refused("-p a --speculative-config ''", "--speculative-config");
  refused("-f /", "/: the prompt cannot be read (Is a directory)");
  refused("-f /dev/zero", "/dev/zero: the prompt is larger than");
  refused("-p a -n -1", "--max-tokens");
  refused("-p a --seed -1", "--seed");
  refused("-p a --stop $(printf '\\342\\202')", "--stop");
}

TEST(GenerateCommand, FailsIfStandardOutputCannotBeWritten) {
  for (const char* command : {"-p a -n 8 >/dev/full", "-p a -n 8 >&-", "-p a -n 8 <&- >&- 2>&-"}) {
    const ProcessResult result = run(kGenerate + command);
    EXPECT_EQ(result.exit_status, 2) << command << "\n" << result.output;
  }
  const ProcessResult result = run("{ " + kGenerate + "-p a -n 8 >/dev/full; } 2>&1");
  EXPECT_THAT(result.output, HasSubstr("Standard output cannot be written (No space left on device)"));
  for (const std::string& command : {"check " + kModel, std::string("--help"), std::string("--version")}) {
    const ProcessResult lost = run(fmt::format("{} {} >/dev/full", kBinary, command));
    EXPECT_EQ(lost.exit_status, 2) << command << "\n" << lost.output;
  }
}

TEST(GenerateCommand, WorksWithoutStandardError) {
  const std::string text = run(kGenerate + "-p a -n 8 2>/dev/null").output;
  EXPECT_THAT(text, Not(HasSubstr("acceptance")));
  for (const char* error : {"2>/dev/full", "2>&-"}) {
    const ProcessResult result = run(kGenerate + "-p a -n 8 " + error);
    EXPECT_EQ(result.exit_status, 0) << error << "\n" << result.output;
    EXPECT_EQ(result.output, text) << error;
  }
}

TEST(GenerateCommand, RejectsAnIncompleteCheckpointByTensorName) {
  testing::TempDir dir;
  const std::string copy = "'" + dir.path().string() + "/model'";
  // Removes the head from the index and overwrites its name in the shard's header.
  ASSERT_EQ(run("cp -r " + kModel + " " + copy + " && cd " + copy +
                " && sed -i 's/\"head\\.weight\"/\"hand.weight\"/' *.safetensors *.index.json")
                .exit_status,
            0);
  const ProcessResult result = run(kBinary + " generate " + copy + " -p a");
  EXPECT_EQ(result.exit_status, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("head.weight"));
}

}  // namespace
}  // namespace outrider
