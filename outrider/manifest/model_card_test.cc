#include "outrider/manifest/model_card.h"

#include <gtest/gtest.h>

#include <string>

namespace outrider {
namespace {

std::string card(const std::string& metadata) {
  return "---\n" + metadata + "\n---\n# A model\n";
}

constexpr const char* kIndex = R"(license: mit
model-index:
- name: a-model
  results:
  - task: {type: text-generation}
    metrics:
    - {type: perplexity, value: 15.6}
    - type: mtp_acceptance
      value: 0.745)";

TEST(ModelCard, HasTheAcceptanceRateOfTheMtpHead) {
  EXPECT_EQ(card_mtp_acceptance(card(kIndex)), 0.745);
}

TEST(ModelCard, NulloptWithoutAnAcceptanceRate) {
  EXPECT_EQ(card_mtp_acceptance(""), std::nullopt);
  EXPECT_EQ(card_mtp_acceptance("# A model\n---\n" + std::string(kIndex) + "\n---\n"), std::nullopt);
  EXPECT_EQ(card_mtp_acceptance("---\n" + std::string(kIndex)), std::nullopt);
  EXPECT_EQ(card_mtp_acceptance(card("license: mit")), std::nullopt);
  EXPECT_EQ(card_mtp_acceptance(card("model-index: 3")), std::nullopt);
  EXPECT_EQ(card_mtp_acceptance(card("model-index: [{results: [{metrics: [{type: mtp_acceptance, value: 74.5}]}]}]")),
            std::nullopt);
  EXPECT_EQ(card_mtp_acceptance(card("a: [unclosed")), std::nullopt);
  EXPECT_EQ(card_mtp_acceptance(card(std::string(100'000, '['))), std::nullopt);
  EXPECT_EQ(card_mtp_acceptance(card(std::string(300'000, 'a'))), std::nullopt);
}

}  // namespace
}  // namespace outrider
