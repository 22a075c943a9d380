#include "outrider/manifest/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <set>

#include "outrider/artifact/synthetic/synthetic_checkpoint.h"
#include "outrider/manifest/architecture.h"

namespace outrider {
namespace {

ModelConfig tiny(synthetic::Family family) {
  return read_config(synthetic::config_json("tiny", family)).config;
}

// The tiny model has layers of every kind.
TEST(Manifest, EveryLineOfTheRegistryHasItsBlocks) {
  const ModelConfig mtp_config = tiny(synthetic::Family::kOfficial);
  const ModelConfig dspark_config = tiny(synthetic::Family::kDspark);
  const Manifest mtp(mtp_config, DrafterKind::kMtp, 1);
  const Manifest dspark(dspark_config, DrafterKind::kDspark, 3);
  std::set<Slot> seen;
  for (const Manifest* manifest : {&mtp, &dspark}) {
    for (const Parameter& p : manifest->parameters()) {
      seen.insert(p.slot);
      EXPECT_EQ(&p.spec(), &manifest->spec(p.slot));
      EXPECT_NE(p.shape.elements(), 0U) << p.name();
    }
  }
  EXPECT_EQ(seen.size(), mtp_config.architecture->parameters().size());
}

TEST(Manifest, BlocksHaveTheParametersOfTheirKind) {
  const Manifest mtp(tiny(synthetic::Family::kOfficial), DrafterKind::kMtp, 1);
  const auto layer = [&](std::uint32_t i, Slot slot) { return mtp.find({BlockKind::kLayer, i}, slot).has_value(); };
  EXPECT_FALSE(layer(0, Slot::kCompressorApe));  // a window layer, hash-routed
  EXPECT_TRUE(layer(0, Slot::kGateTid2Eid));
  EXPECT_FALSE(layer(0, Slot::kGateBias));
  EXPECT_TRUE(layer(2, Slot::kIndexerWqB));  // CSA
  EXPECT_TRUE(layer(2, Slot::kGateBias));
  EXPECT_TRUE(layer(3, Slot::kCompressorApe));  // HCA
  EXPECT_FALSE(layer(3, Slot::kIndexerWqB));
  EXPECT_FALSE(layer(3, Slot::kEmbed));
  EXPECT_FALSE(mtp.find({}, Slot::kExpertW1, 0));
  EXPECT_TRUE(mtp.find({BlockKind::kLayer, 0}, Slot::kExpertW1, 3));

  const auto embed = mtp.find({BlockKind::kMtp, 0}, Slot::kEmbed);
  ASSERT_TRUE(embed);
  EXPECT_EQ(mtp[*embed].name(), "mtp.0.emb.tok_emb.weight");
  EXPECT_EQ(mtp[*embed].falls_back_to, mtp.find({}, Slot::kEmbed));

  const Manifest dspark(tiny(synthetic::Family::kDspark), DrafterKind::kDspark, 3);
  const auto stages = [&](Slot slot) {
    std::array<bool, 3> out{};
    for (std::uint32_t i = 0; i < 3; ++i) out[i] = dspark.find({BlockKind::kDspark, i}, slot).has_value();
    return out;
  };
  EXPECT_THAT(stages(Slot::kMainProj), ::testing::ElementsAre(true, false, false));
  EXPECT_THAT(stages(Slot::kMarkovW1), ::testing::ElementsAre(false, false, true));
  EXPECT_THAT(stages(Slot::kFinalNorm), ::testing::ElementsAre(false, false, true));
  EXPECT_THAT(stages(Slot::kEProj), ::testing::ElementsAre(false, false, false));
}

}  // namespace
}  // namespace outrider
