// What the program prints for shells and man, held against its own --help.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>

#include "outrider/testing/command_line.h"
#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using testing::kBinary;
using testing::run;

const char* const kCommands[] = {
    "",      "check",       "repair",        "convert",       "quantize",   "generate",   "logits",   "serve",
    "bench", "bench serve", "bench latency", "bench kernels", "completion", "make-model", "preflight"};

// The long options that a command's --help begins lines with.
std::set<std::string> options_of(const std::string& command) {
  const std::string help = run(kBinary + " " + command + " --help").output;
  const std::regex option(R"((?:^|\n) +(?:-\w,)?(--[a-z-]+))");
  std::set<std::string> found;
  for (auto i = std::sregex_iterator(help.begin(), help.end(), option); i != std::sregex_iterator(); ++i) {
    found.insert((*i)[1]);
  }
  return found;
}

bool has(const char* program) {
  return run(std::string("command -v ") + program + " >/dev/null").exit_status == 0;
}

std::string complete(const std::string& words) {
  return run(kBinary + " __complete " + words).output;
}

TEST(Complete, KnowsEveryOption) {
  for (const char* command : kCommands) {
    const std::string candidates = complete(std::string(command) + " --");
    const std::set<std::string> options = options_of(command);
    EXPECT_THAT(options, ::testing::Contains("--help")) << command;
    for (const std::string& option : options) EXPECT_THAT(candidates, HasSubstr(option + "\t")) << command;
  }
}

TEST(Complete, OffersWhatMayFollow) {
  EXPECT_THAT(complete("''"), ::testing::StartsWith("check\tVerify that"));
  EXPECT_THAT(complete("''"), ::testing::Not(HasSubstr("man-page")));
  EXPECT_EQ(complete("rep"), "repair\tRepair what check finds, rewriting only what changes\n");
  EXPECT_THAT(complete("bench ''"), ::testing::StartsWith("serve\t"));
  EXPECT_EQ(complete("serve --log-format ''"), "text\njson\n");
  EXPECT_EQ(complete("serve --log-format j"), "json\n");
  EXPECT_EQ(complete("serve --per-request-spec-decode-metrics ''"), "none\nsummary\ndetailed\n");
  EXPECT_EQ(complete("completion ''"), "bash\nzsh\nfish\n");
  EXPECT_EQ(complete("generate x --temperature ''"), "");
  EXPECT_EQ(complete("check ''"), ":files\n");
  EXPECT_EQ(complete("check --reference ''"), ":directories\n");
  EXPECT_EQ(complete("check --ma"),
            "--map\tPrint each parameter with its file, tensor and storage form, tab-separated\n");
  EXPECT_EQ(complete("nonsense --nonsense nothin"), "");
  EXPECT_EQ(run(kBinary + " __complete").exit_status, 0);
}

// The scripts, in the shells that are installed.
class CompletionScript : public ::testing::Test {
 protected:
  std::string file(const std::string& shell) {
    const std::string path = (dir_ / ("outrider." + shell)).string();
    EXPECT_EQ(run(kBinary + " completion " + shell + " >'" + path + "'").exit_status, 0);
    return path;
  }
  const std::string path_ = "PATH='" + std::filesystem::path(OUTRIDER_BINARY).parent_path().string() + "':\"$PATH\" ";
  testing::TempDir dir_;
};

TEST_F(CompletionScript, Bash) {
  const std::string path = file("bash");
  const auto replies = [&](const std::string& words) {
    return run("cd '" + dir_.path().string() + "'; " + path_ + "bash -c 'compopt() { :; }; source \"" + path +
               "\"; COMP_WORDS=(outrider " + words +
               "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _outrider; echo \"${COMPREPLY[*]}\"'")
        .output;
  };
  EXPECT_EQ(replies("bench \"\""), "serve latency kernels\n");
  EXPECT_EQ(replies("check --ma"), "--map\n");
  EXPECT_EQ(replies("check out"), "outrider.bash\n");
  EXPECT_EQ(replies("check --reference out"), "\n");
  EXPECT_EQ(replies("generate x --temperature \"\""), "\n");
}

TEST_F(CompletionScript, Fish) {
  if (!has("fish")) GTEST_SKIP() << "fish is not installed";
  const std::string path = file("fish");
  const auto replies = [&](const std::string& line) {
    return run("cd '" + dir_.path().string() + "'; " + path_ + "HOME='" + dir_.path().string() +
               "' fish -c 'source \"" + path + "\"; complete -C \"outrider " + line + "\"'")
        .output;
  };
  EXPECT_THAT(replies("bench "), HasSubstr("latency\t"));
  EXPECT_THAT(replies("check --ma"), HasSubstr("--map\t"));
  EXPECT_THAT(replies("check out"), HasSubstr("outrider.fish"));
}

TEST_F(CompletionScript, Zsh) {
  if (!has("zsh")) GTEST_SKIP() << "zsh is not installed";
  const testing::ProcessResult result = run("zsh -n '" + file("zsh") + "'");
  EXPECT_EQ(result.exit_status, 0) << result.output;
}

TEST(ManPage, KnowsEveryOptionAndIsSound) {
  const testing::TempDir dir;
  const std::string path = (dir / "outrider.1").string();
  ASSERT_EQ(run(kBinary + " man-page >'" + path + "'").exit_status, 0);
  std::string text = testing::read_file(path);
  text = std::regex_replace(text, std::regex(R"(\\-)"), "-");
  for (const char* command : kCommands) {
    if (*command != '\0') {
      EXPECT_THAT(text, HasSubstr(std::string(".SS outrider ") + command + "\n"));
    }
    for (const std::string& option : options_of(command)) EXPECT_THAT(text, HasSubstr(option)) << command;
  }
  if (!has("groff")) GTEST_SKIP() << "groff is not installed";
  EXPECT_EQ(run("groff -ww -man -z -Kutf8 '" + path + "'").output, "");
}

TEST(Commands, AreTheOnesThatTheseTestsKnow) {
  const std::string help = run(kBinary + " --help").output;
  const std::regex line(R"(\n  ([a-z-]+) +[A-Z])");
  const std::string commands = help.substr(help.find("Subcommands:"));
  for (auto i = std::sregex_iterator(commands.begin(), commands.end(), line); i != std::sregex_iterator(); ++i) {
    EXPECT_THAT(kCommands, ::testing::Contains(::testing::StrEq((*i)[1].str())));
  }
}

}  // namespace
}  // namespace outrider
