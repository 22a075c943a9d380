#include "outrider/server/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <string>

namespace outrider {
namespace {

using ::testing::MatchesRegex;

std::string logged(LogFormat format) {
  std::FILE* file = std::tmpfile();
  Log(format, file).warning("two\nlines", {{"key", "a \"b\""}, {"number", 7}});
  std::array<char, 512> buffer{};
  std::rewind(file);
  const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), file);
  std::fclose(file);
  return {buffer.data(), got};
}

TEST(Log, WritesOneLineInEitherFormat) {
  EXPECT_THAT(logged(LogFormat::kText),
              MatchesRegex("....-..-.. ..:..:..\\.... WARNING two.x0alines key=\"a .\"b.\"\" number=7\n"));
  const auto object = nlohmann::json::parse(logged(LogFormat::kJson));
  EXPECT_EQ(object["level"], "WARNING");
  EXPECT_EQ(object["message"], "two\nlines");
  EXPECT_EQ(object["number"], 7);
}

}  // namespace
}  // namespace outrider
