#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/manifest/model_config.h"

namespace outrider {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> fields(const ConfigReading& reading, ConfigIssue::Kind kind) {
  std::vector<std::string> out;
  for (const ConfigIssue& issue : reading.issues) {
    if (issue.kind == kind) out.push_back(issue.field);
  }
  return out;
}

TEST(ModelConfig, AnEmptyConfigListsEveryFieldAtOnce) {
  const ConfigReading reading = read_config("{}");
  const auto missing = fields(reading, ConfigIssue::Kind::kMissing);
  EXPECT_FALSE(reading.shapes_known);
  for (const char* field : {"vocab_size", "hidden_size (dim)", "num_hidden_layers (n_layers)", "hc_eps", "rope_theta",
                            "swiglu_limit", "compress_ratios | layer_types", "num_hash_layers (n_hash_layers)",
                            "num_nextn_predict_layers (n_mtp_layers)"}) {
    EXPECT_NE(std::find(missing.begin(), missing.end(), field), missing.end()) << field;
  }
}

// A missing field is reported by name, unless another field holds the same value.
TEST(ModelConfig, EachMissingRequiredFieldIsReported) {
  const nlohmann::json whole = nlohmann::json::parse(synthetic::config_json("tiny", synthetic::Family::kBf16));
  ASSERT_TRUE(read_config(whole.dump()).sound());
  for (const auto& item : whole.items()) {
    const std::string& key = item.key();
    static const std::vector<std::string> kOptional = {"architectures", "num_key_value_heads", "norm_topk_prob",
                                                       "hidden_act",    "tie_word_embeddings", "attention_bias",
                                                       "torch_dtype"};
    if (std::find(kOptional.begin(), kOptional.end(), key) != kOptional.end()) continue;
    nlohmann::json less = whole;
    less.erase(key);
    const ConfigReading reading = read_config(less.dump());
    EXPECT_FALSE(reading.sound()) << key;
    EXPECT_TRUE(std::any_of(reading.issues.begin(), reading.issues.end(), [&](const ConfigIssue& i) {
      return i.kind == ConfigIssue::Kind::kMissing && i.message.find(key) != std::string::npos;
    })) << key;
  }
}

TEST(ModelConfig, ReadsLayerTypes) {
  const ModelConfig c = read_config(synthetic::config_json("tiny", synthetic::Family::kBf16)).config;
  ASSERT_EQ(c.layers.size(), 6U);
  EXPECT_EQ(c.layers[0].type, AttentionType::kWindow);
  EXPECT_EQ(c.layers[2].type, AttentionType::kCompressedSparse);
  EXPECT_EQ(c.layers[3].type, AttentionType::kHeavilyCompressed);
  EXPECT_EQ(c.layers[3].compress_ratio, 128U);
  ASSERT_EQ(c.drafter_layers.size(), 1U);
  EXPECT_FALSE(c.drafter_layers[0].compressed());
  ASSERT_TRUE(c.yarn);
  EXPECT_EQ(c.yarn->factor, 16);
}

// transformers lists the kind of experts of each layer: hash-routed layers need not be the first, and some branches
// also list the MTP block.
TEST(ModelConfig, ReadsHashRoutedLayersAnywhere) {
  nlohmann::json config = nlohmann::json::parse(synthetic::config_json("tiny", synthetic::Family::kBf16));
  config.erase("num_hash_layers");
  config["mlp_layer_types"] = {"moe", "hash_moe", "moe", "moe", "moe", "hash_moe"};
  ConfigReading reading = read_config(config.dump());
  EXPECT_TRUE(reading.sound());
  EXPECT_THAT(reading.config.hash_layers, ::testing::ElementsAre(false, true, false, false, false, true));
  EXPECT_FALSE(reading.config.num_hash_layers().has_value());
  EXPECT_THAT(reading.traits.release_fields_lacking, ::testing::ElementsAre("num_hash_layers"));

  config["mlp_layer_types"] = {"hash_moe", "hash_moe", "moe", "moe", "moe", "moe", "moe"};
  reading = read_config(config.dump());
  EXPECT_TRUE(reading.sound());
  EXPECT_EQ(reading.config.num_hash_layers(), 2U);

  for (const nlohmann::json& types : {nlohmann::json{"moe"}, nlohmann::json{"moe", "moe", "moe", "moe", "moe", "dense"},
                                      nlohmann::json{"moe", "moe", "moe", "moe", "moe", "moe", "hash_moe"}}) {
    config["mlp_layer_types"] = types;
    EXPECT_FALSE(read_config(config.dump()).sound()) << types;
  }
}

// Precedence as in transformers: nested parameters override rope_theta beside them, rope_scaling overrides both.
TEST(ModelConfig, ReadsRopeParametersAsTransformersDoes) {
  nlohmann::json config = nlohmann::json::parse(synthetic::config_json("tiny", synthetic::Family::kBf16));
  const nlohmann::json yarn = config["rope_scaling"];
  config["rope_parameters"] = {{"main", {{"rope_type", "default"}, {"rope_theta", 50000.0}}}, {"compress", yarn}};
  config["rope_parameters"]["compress"]["rope_theta"] = 90000.0;
  const double before = config["rope_theta"];
  EXPECT_EQ(read_config(config.dump()).config.rope_theta, before);
  config.erase("rope_scaling");
  const ConfigReading nested = read_config(config.dump());
  EXPECT_TRUE(nested.issues.empty());
  EXPECT_EQ(nested.config.rope_theta, 50000);
  EXPECT_EQ(nested.config.compress_rope_theta, 90000);
  EXPECT_THAT(nested.traits.release_fields_lacking,
              ::testing::ElementsAre("rope_theta", "compress_rope_theta", "rope_scaling"));

  nlohmann::json unscaled = config;
  unscaled["rope_parameters"]["compress"] = {{"rope_type", "default"}, {"rope_theta", 90000.0}};
  EXPECT_TRUE(read_config(unscaled.dump()).issues.empty());
  EXPECT_FALSE(read_config(unscaled.dump()).config.yarn);

  config["rope_parameters"]["compress"]["attention_factor"] = 1.277;
  config["rope_parameters"]["main"]["rope_type"] = "yarn";
  const ConfigReading refused = read_config(config.dump());
  ASSERT_EQ(refused.issues.size(), 2U);
  EXPECT_THAT(refused.issues[0].message, ::testing::HasSubstr("rope_parameters.main"));
  EXPECT_THAT(refused.issues[1].message, ::testing::HasSubstr("attention_factor 1.277"));

  unscaled["rope_parameters"]["compress"]["partial_rotary_factor"] = 0.75;
  ASSERT_EQ(read_config(unscaled.dump()).issues.size(), 1U);
  EXPECT_THAT(read_config(unscaled.dump()).issues[0].message, ::testing::HasSubstr("rope_parameters.compress"));
}

TEST(ModelConfig, TheTensorsNumberOfExpertsIsUsedAndReported) {
  const std::string config = synthetic::config_json("tiny", synthetic::Family::kBf16);
  ConfigHints hints;
  hints.n_routed_experts = 3;
  const ConfigReading reading = read_config(config, [&](std::uint64_t) { return hints; });
  EXPECT_THAT(fields(reading, ConfigIssue::Kind::kContradiction), ::testing::ElementsAre("n_routed_experts"));
  EXPECT_EQ(reading.config.n_routed_experts, 3U);
  EXPECT_TRUE(reading.shapes_known);
}

TEST(ModelConfig, RefusesValuesThatDeepSeekV4DoesNotHave) {
  const nlohmann::json whole = nlohmann::json::parse(synthetic::config_json("tiny", synthetic::Family::kBf16));
  for (const char* change :
       {R"({"num_key_value_heads":2})",
        R"({"tie_word_embeddings":true})",
        R"({"hidden_act":"gelu"})",
        R"({"scoring_func":"x"})",
        R"({"norm_topk_prob":0})",
        R"({"o_groups":3})",
        R"({"num_experts_per_tok":5})",
        R"({"num_hash_layers":7})",
        R"({"qk_rope_head_dim":15})",
        R"({"hidden_size":2.5})",
        R"({"hidden_size":true})",
        R"({"rms_norm_eps":"1e-6"})",
        R"({"compress_ratios":[0,0,4,128,4,128,4]})",
        R"({"rope_theta":0})",
        R"({"compress_rope_theta":1})",
        R"({"rms_norm_eps":-1})",
        R"({"hc_eps":-1})",
        R"({"routed_scaling_factor":1e300})",
        R"({"rope_scaling":{"type":"yarn","factor":0,"original_max_position_embeddings":64}})",
        R"({"rope_scaling":{"type":"yarn","factor":2,"beta_fast":0,"original_max_position_embeddings":64}})"}) {
    nlohmann::json changed = whole;
    changed.update(nlohmann::json::parse(change));
    EXPECT_FALSE(read_config(changed.dump()).sound()) << change;
  }
}

// DeepSeek's code and transformers divide the weights of a token's experts by their sum whatever the field says. With
// softmax scores, DeepSeek's code does not.
TEST(ModelConfig, UnnormalisedExpertWeightsAreRefused) {
  nlohmann::json config = nlohmann::json::parse(synthetic::config_json("tiny", synthetic::Family::kBf16));
  config["norm_topk_prob"] = false;
  const ConfigReading refused = read_config(config.dump());
  ASSERT_THAT(fields(refused, ConfigIssue::Kind::kInvalid), ::testing::ElementsAre("norm_topk_prob"));
  EXPECT_THAT(refused.issues[0].message, HasSubstr("norm_topk_prob is false, but DeepSeek-V4's router always divides"));
  EXPECT_TRUE(refused.config.norm_topk_prob);

  config["scoring_func"] = "softmax";
  EXPECT_TRUE(read_config(config.dump()).sound());
  config.erase("norm_topk_prob");
  EXPECT_TRUE(read_config(config.dump()).sound());
}

}  // namespace
}  // namespace outrider
