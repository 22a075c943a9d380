#include "outrider/speculation/speculative_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;

std::string refusal(std::string_view json) {
  try {
    parse_speculative_config(json);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(SpeculativeConfig, ReadsWhatVllmTakes) {
  EXPECT_EQ(parse_speculative_config(R"({"method": "mtp", "num_speculative_tokens": 3})"), 3U);
  EXPECT_EQ(parse_speculative_config(R"({"method": "deepseek_mtp", "num_speculative_tokens": 8})"), 8U);
  EXPECT_EQ(parse_speculative_config("{}"), 1U);
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
