#include "outrider/manifest/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/manifest/architecture.h"
#include "outrider/util/error.h"

namespace outrider {
namespace {

TEST(ModelConfig, RefusesInvalidConfigs) {
  for (const char* text : {"", "{", "[]", "1", "null", "\"x\"", "{\"a\":1,\"a\":2}", "\xff"})
    EXPECT_THROW(read_config(text), Error) << text;
  EXPECT_THROW(read_config(std::string(100'000, '[')), Error);
  EXPECT_THROW(read_config("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}"), Error);
}

TEST(Architectures, EachModelTypeHasOneRow) {
  nlohmann::json config = nlohmann::json::parse(synthetic::config_json("tiny", synthetic::Family::kBf16));
  for (const Architecture* architecture : architectures()) {
    config["model_type"] = architecture->model_type;
    EXPECT_EQ(read_config(config.dump()).config.architecture, architecture);
  }
}

TEST(Architectures, AnotherModelIsRefused) {
  nlohmann::json config = nlohmann::json::parse(synthetic::config_json("tiny", synthetic::Family::kBf16));
  for (const auto& [type, message] :
       {std::pair("qwen3", "model_type is \"qwen3\"; Outrider runs \"deepseek_v4\" only"),
        {"deepseek_v41",
         "this is DeepSeek-V4.1 (nested text_config, engram tables), another architecture than DeepSeek-V4; Outrider "
         "does not run it"}}) {
    config["model_type"] = type;
    const ConfigReading reading = read_config(config.dump());
    EXPECT_TRUE(reading.unsupported());
    EXPECT_FALSE(reading.shapes_known);
    ASSERT_EQ(reading.issues.size(), 1U);
    EXPECT_EQ(reading.issues[0].message, message);
    EXPECT_EQ(reading.config.architecture, nullptr);
  }
}

TEST(Architectures, TheInferenceConfigNeedsNoModelType) {
  EXPECT_TRUE(read_config(synthetic::inference_config_json()).sound());
  nlohmann::json config = nlohmann::json::parse(synthetic::config_json("tiny", synthetic::Family::kBf16));
  config.erase("model_type");
  const ConfigReading reading = read_config(config.dump());
  ASSERT_EQ(reading.issues.size(), 1U);
  EXPECT_EQ(reading.issues[0].message, "model_type is missing: \"deepseek_v4\" is expected");
  EXPECT_TRUE(reading.shapes_known);
}

}  // namespace
}  // namespace outrider
