#include "outrider/binding/tensor_name.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/manifest/manifest.h"

namespace outrider {
namespace {

TEST(TensorName, EveryParameterRoundTripsInEveryDialect) {
  for (const auto& [family, drafter, blocks] : {std::tuple{synthetic::Family::kOfficial, DrafterKind::kMtp, 1U},
                                                {synthetic::Family::kDspark, DrafterKind::kDspark, 3U}}) {
    const ModelConfig config = read_config(synthetic::config_json("tiny", family)).config;
    const Manifest manifest(config, drafter, blocks);
    for (const Parameter& p : manifest.parameters()) {
      for (const bool hugging_face : {false, true}) {
        for (const bool prefix : {false, true}) {
          for (std::size_t c = 0; c < kComponentCount; ++c) {
            const auto component = static_cast<Component>(c);
            if (component != Component::kWeight && !p.spec().official.ends_with(".weight")) continue;
            const std::string name = tensor_name(p, component, hugging_face, prefix);
            const TensorName parsed =
                parse_tensor_name(name, config.num_hidden_layers, drafter == DrafterKind::kDspark);
            ASSERT_EQ(parsed.kind, TensorName::Kind::kParameter) << name;
            EXPECT_EQ(parsed.block, p.block) << name;
            EXPECT_EQ(parsed.slot, p.slot) << name;
            EXPECT_EQ(parsed.expert, p.expert) << name;
            EXPECT_EQ(parsed.component, component) << name;
            EXPECT_FALSE(parsed.dialect.mixed()) << name;
            if (hugging_face) {
              EXPECT_FALSE(parsed.dialect.official) << name;
            } else {
              EXPECT_FALSE(parsed.dialect.hugging_face) << name;
            }
          }
        }
      }
      EXPECT_EQ(tensor_name(p, Component::kWeight, false, false), p.name());
    }
  }
}

// As save_pretrained of transformers 5.8 to 5.24, MLX and wrappers of the model write.
TEST(TensorName, SpellingsOfTheField) {
  struct Expected {
    const char* name;
    const char* official;
    bool renamed = false;
    bool variant = false;
  };
  const Expected names[] = {
      {"model.layers.3.attn.norm.weight", "layers.3.attn.kv_norm.weight", true},
      {"model.layers.3.self_attn.norm.weight", "layers.3.attn.kv_norm.weight", true},
      {"mtp.0.attn.norm.weight", "mtp.0.attn.kv_norm.weight", true},
      {"mtp.0.kv_norm.weight", "mtp.0.norm.weight", true},
      {"model.layers.3.self_attn.compressor.norm.weight", "layers.3.attn.compressor.norm.weight", true},
      {"model.layers.3.self_attn.compressor.indexer.norm.weight", "layers.3.attn.indexer.compressor.norm.weight", true},
      {"layers.3.attn.compressor.norm.weight", "layers.3.attn.compressor.norm.weight"},
      {"model.layers.3.self_attn.compressor.indexer.weights_proj.weight", "layers.3.attn.indexer.weights_proj.weight"},
      {"model.layers.1.mlp.experts..2.w1.weight", "layers.1.ffn.experts.2.w1.weight", false, true},
      {"model.hc_head.fn", "hc_head_fn", false, true},
      {"model.hc_head.hc_fn", "hc_head_fn"},
      {"_orig_mod.layers.3.attn.wq_a.weight", "layers.3.attn.wq_a.weight", false, true},
      {"language_model.model.norm.weight", "norm.weight", false, true},
      {"base_model.model.lm_head.weight", "head.weight", false, true},
  };
  const Manifest manifest(read_config(synthetic::config_json("tiny", synthetic::Family::kOfficial)).config,
                          DrafterKind::kMtp, 1);
  for (const Expected& e : names) {
    const TensorName name = parse_tensor_name(e.name, 6, false);
    ASSERT_EQ(name.kind, TensorName::Kind::kParameter) << e.name;
    const Parameter parameter = {.slot = name.slot,
                                 .block = name.block,
                                 .expert = name.expert,
                                 .line = &manifest.spec(name.slot),
                                 .shape = {},
                                 .falls_back_to = {}};
    EXPECT_EQ(tensor_name(parameter, name.component, false, false), e.official);
    EXPECT_EQ(name.dialect.renamed, e.renamed) << e.name;
    EXPECT_EQ(name.dialect.variant, e.variant) << e.name;
  }
}

TEST(TensorName, OtherSpellingsOfTheIndexer) {
  for (const char* name : {"model.layers.2.self_attn.compressor.indexer.weights_proj.weight",
                           "model.layers.2.self_attn.compressor.indexer.scorer.weights_proj.weight",
                           "layers.2.attn.indexer.weights_proj.weight"}) {
    EXPECT_EQ(parse_tensor_name(name, 6, false).slot, Slot::kIndexerWeightsProj) << name;
  }
  EXPECT_EQ(parse_tensor_name("model.layers.2.self_attn.compressor.indexer.kv_norm.weight", 6, false).slot,
            Slot::kIndexerCompressorNorm);
  EXPECT_EQ(parse_tensor_name("model.layers.2.self_attn.compressor.kv_norm.weight", 6, false).slot,
            Slot::kCompressorNorm);
  EXPECT_EQ(parse_tensor_name("model.layers.2.self_attn.kv_norm.weight", 6, false).slot, Slot::kKvNorm);
}

TEST(TensorName, NothingIsMatchedByAFragment) {
  for (const char* name : {"",
                           ".",
                           "layers",
                           "layers.",
                           "layers.0",
                           "layers.0.",
                           "layers..attn_norm.weight",
                           "layers.00.attn_norm.weight",
                           "layers.+1.attn_norm.weight",
                           "layers.-1.attn_norm.weight",
                           "layers.99999999999999999999.attn_norm.weight",
                           "model.model.norm.weight",
                           "norm.weight.",
                           "norm",
                           "weight",
                           "head.weights",
                           "ahead.weight",
                           "layers.0.ffn.experts.w1.weight",
                           "layers.0.ffn.experts.1.w4.weight",
                           "layers.0.ffn.experts.1.w1",
                           "layers.0.ffn.experts.1.w1.weight.x",
                           "layers.0.ffn.experts.01.w1.weight",
                           "mtp.enorm.weight",
                           "mtp.0.mtp.0.enorm.weight",
                           "layers.0.enorm.weight",
                           "layers.0.hc_attn_fn.weight",
                           "layers.0.attn.attn_sink.weight"}) {
    EXPECT_NE(parse_tensor_name(name, 6, false).kind, TensorName::Kind::kParameter) << name;
  }
}

}  // namespace
}  // namespace outrider
