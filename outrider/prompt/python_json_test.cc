#include "outrider/prompt/python_json.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;

std::string again(const std::string& text) {
  return python_json(parse_python_json(text, "test"));
}

TEST(PythonJson, WritesNumbersAsPythonDoes) {
  // The expected values are from json.dumps(json.loads(…)) of Python 3.11.
  const std::pair<const char*, const char*> cases[] = {
      {"0", "0"},
      {"-0", "0"},
      {"-0.0", "-0.0"},
      {"1.0", "1.0"},
      {"1.5", "1.5"},
      {"-12.25", "-12.25"},
      {"100", "100"},
      {"1e2", "100.0"},
      {"1E15", "1000000000000000.0"},
      {"1e16", "1e+16"},
      {"123456789012345678.0", "1.2345678901234568e+17"},
      {"0.0001", "0.0001"},
      {"0.00012345", "0.00012345"},
      {"0.00001", "1e-05"},
      {"1.5e-7", "1.5e-07"},
      {"5e-324", "5e-324"},
      {"1.7976931348623157e308", "1.7976931348623157e+308"},
      {"0.1", "0.1"},
      {"3.141592653589793", "3.141592653589793"},
      {"9007199254740993.0", "9007199254740992.0"},
      {"18446744073709551615", "18446744073709551615"},
      {"18446744073709551616", "18446744073709551616"},
      {"-9223372036854775809", "-9223372036854775809"},
      {"[123456789012345678901234567890, 1]", "[123456789012345678901234567890, 1]"},
  };
  for (const auto& [in, out] : cases) EXPECT_EQ(again(in), out) << in;
  EXPECT_EQ(python_json(std::numeric_limits<double>::infinity()), "Infinity");
  EXPECT_EQ(python_json(-std::numeric_limits<double>::infinity()), "-Infinity");
  EXPECT_EQ(python_json(std::numeric_limits<double>::quiet_NaN()), "NaN");
}

TEST(PythonJson, StringsKeepTheirCharacters) {
  EXPECT_EQ(again(R"("\u4e2d\ud83d\ude00 \"\\\/\b\f\n\r\t\u0001\u007f\u2028é")"),
            "\"中😀 \\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\u2028é\"");
  EXPECT_EQ(python_json_string("a\"b"), "\"a\\\"b\"");
}

TEST(PythonJson, KeysKeepTheirOrder) {
  EXPECT_EQ(again(R"({"z":1,"a":{"y":[],"b":{}},"z":[true,false,null]})"),
            R"({"z": [true, false, null], "a": {"y": [], "b": {}}})");
}

// In linear time, not quadratic.
TEST(PythonJson, ReadsManyKeys) {
  std::string text = "{";
  constexpr int kKeys = 300'000;
  for (int i = 0; i < kKeys; ++i) text += fmt::format("\"k{}\":{},", i, i);
  text += R"("k7":"again","k299999":"last"})";
  const nlohmann::ordered_json read = parse_python_json(text, "test");
  ASSERT_EQ(read.size(), kKeys);
  EXPECT_EQ(std::next(read.begin(), 7).key(), "k7");
  EXPECT_EQ(*std::next(read.begin(), 7), "again");
  EXPECT_EQ(*std::next(read.begin(), 8), 8);
  EXPECT_EQ(read.back(), "last");
}

TEST(PythonJson, RejectsInvalidJson) {
  for (const char* text : {"", "{", "[1,]", "nul", "{\"a\" 1}", "\"\xff\"", "NaN", "1 2", "1e999", "\"\\ud800\""}) {
    EXPECT_THROW(parse_python_json(text, "test"), Error) << text;
  }
  EXPECT_NO_THROW(parse_python_json(std::string(128, '[') + std::string(128, ']'), "test"));
  try {
    parse_python_json(std::string(100'000, '['), "the tools");
    ADD_FAILURE() << "was accepted";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("the tools: JSON nested deeper than 128"));
  }
}

}  // namespace
}  // namespace outrider
