#include "outrider/manifest/generation_config.h"

#include <gtest/gtest.h>

#include "outrider/util/error.h"

namespace outrider {
namespace {

using Ids = std::vector<std::uint32_t>;

TEST(GenerationConfig, EosIsANumberOrAList) {
  EXPECT_EQ(eos_token_ids(R"({"eos_token_id": 1})", "a"), (Ids{1}));
  EXPECT_EQ(eos_token_ids(R"({"eos_token_id": [1, 128803]})", "a"), (Ids{1, 128803}));
  EXPECT_EQ(eos_token_ids(R"({"eos_token_id": null})", "a"), Ids{});
  EXPECT_EQ(eos_token_ids("{}", "a"), Ids{});
}

TEST(GenerationConfig, InvalidIdsAreReported) {
  for (const char* text : {R"({"eos_token_id": -1})", R"({"eos_token_id": "1"})", R"({"eos_token_id": [1, 1.5]})",
                           R"({"eos_token_id": 4294967296})", "[]", "{"}) {
    try {
      eos_token_ids(text, "generation_config.json");
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find("generation_config.json"), 0U) << e.what();
    }
  }
}

}  // namespace
}  // namespace outrider
