// The verdicts of XGrammar and of Python's re, see tests/golden/make_grammar_golden.py.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "outrider/grammar/grammar.h"
#include "outrider/testing/temp_dir.h"

namespace outrider {
namespace {

using nlohmann::json;

void compare(const char* kind, Grammar (*read)(const std::string&)) {
  const std::filesystem::path directory = std::filesystem::path(OUTRIDER_SOURCE_DIR) / "tests" / "golden";
  const json golden = json::parse(testing::read_file(directory / "grammar_golden.json"));
  std::size_t accepted = 0;
  std::size_t rejected = 0;
  for (const json& each : golden.at(kind)) {
    const auto source = each.at("source").get<std::string>();
    SCOPED_TRACE(source);
    const Grammar grammar = read(source);
    for (const json& text : each.at("accepted")) {
      EXPECT_TRUE(grammar.accepts(text.get<std::string>())) << text;
      ++accepted;
    }
    for (const json& text : each.at("rejected")) {
      EXPECT_FALSE(grammar.accepts(text.get<std::string>())) << text;
      ++rejected;
    }
  }
  EXPECT_GT(accepted, 100U);
  EXPECT_GT(rejected, 200U);
}

TEST(GrammarGolden, GrammarsAcceptWhatXGrammarAccepts) {
  compare("ebnf", &Grammar::from_ebnf);
}

TEST(GrammarGolden, ExpressionsMatchWhatPythonMatches) {
  compare("regex", &Grammar::from_regex);
}

}  // namespace
}  // namespace outrider
