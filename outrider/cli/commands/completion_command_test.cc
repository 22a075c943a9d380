// What the program prints for shells and man, held against its own --help.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "outrider/testing/process.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;
using testing::run;

const std::string kBinary = std::string("'") + OUTRIDER_BINARY + "'";
const char* const kCommands[] = {"",       "check", "repair", "convert",     "quantize",      "generate",
                                 "logits", "serve", "bench",  "bench serve", "bench latency", "completion"};

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

class Completion : public ::testing::Test {
 protected:
  std::string file(const std::string& shell) {
    const std::string path = (dir_ / ("outrider." + shell)).string();
    EXPECT_EQ(run(kBinary + " completion " + shell + " >'" + path + "'").exit_status, 0);
    return path;
  }
  testing::TempDir dir_;
};

TEST_F(Completion, BashKnowsEveryOption) {
  const std::string path = file("bash");
  const auto complete = [&](const std::string& words) {
    return run("bash -c 'compopt() { :; }; source \"" + path + "\"; COMP_WORDS=(outrider " + words +
               "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _outrider; echo \"${COMPREPLY[@]} \"'")
        .output;
  };
  for (const char* command : kCommands) {
    const std::string words = complete(std::string(command) + " --");
    const std::set<std::string> options = options_of(command);
    EXPECT_THAT(options, ::testing::Contains("--help")) << command;
    for (const std::string& option : options) EXPECT_THAT(words, HasSubstr(option + " ")) << command;
  }
  EXPECT_THAT(complete("\"\""), HasSubstr("bench"));
  EXPECT_THAT(complete("bench \"\""), ::testing::StartsWith("serve latency "));
  EXPECT_EQ(complete("serve --log-format \"\""), "text json \n");
  EXPECT_EQ(complete("generate x --temperature \"\""), " \n");
}

TEST_F(Completion, FishKnowsEveryOption) {
  if (!has("fish")) GTEST_SKIP() << "fish is not installed";
  const std::string path = file("fish");
  for (const char* command : kCommands) {
    const std::string words = run("HOME='" + dir_.path().string() + "' fish -c 'source \"" + path +
                                  "\"; complete -C \"outrider " + command + " --\"'")
                                  .output;
    for (const std::string& option : options_of(command)) EXPECT_THAT(words, HasSubstr(option)) << command;
  }
}

TEST_F(Completion, ZshTakesIt) {
  const std::string path = file("zsh");
  const std::string text = testing::read_file(path);
  for (const char* command : kCommands) {
    for (const std::string& option : options_of(command)) EXPECT_THAT(text, HasSubstr(option)) << command;
  }
  if (!has("zsh")) GTEST_SKIP() << "zsh is not installed";
  const testing::ProcessResult result = run("zsh -n '" + path + "'");
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
