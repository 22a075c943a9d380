#include "outrider/artifact/convert/module_names.h"

#include <gtest/gtest.h>

#include "outrider/binding/tensor_name.h"
#include "outrider/manifest/architecture.h"

namespace outrider {
namespace {

TEST(ModuleInDialect, AgreesWithTensorNames) {
  const auto module = [](const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); };
  for (const ParameterSpec& spec : architectures()[0]->parameters()) {
    if (spec.storage != Storage::kLinear && spec.storage != Storage::kLinearNative) continue;
    const bool top = spec.slot == Slot::kHead;
    const Parameter parameter = {
        .slot = spec.slot,
        .block = top ? Block{} : Block{spec.slot >= Slot::kEProj ? BlockKind::kMtp : BlockKind::kLayer, 3},
        .expert = is_expert(spec.slot) ? 7 : -1,
        .line = &spec,
        .shape = {},
        .falls_back_to = {}};
    const std::string official = module(tensor_name(parameter, Component::kWeight, false, false));
    const std::string hf = module(tensor_name(parameter, Component::kWeight, true, true));
    EXPECT_EQ(module_in_dialect(official, Dialect::kHuggingFace), hf);
    EXPECT_EQ(module_in_dialect(hf, Dialect::kOfficial), official);
  }
}

TEST(ModuleInDialect, TranslatesGlobsAndParentModules) {
  for (const auto& [official, hf] : {std::pair("*.attn.*", "*.self_attn.*"),
                                     {"*.ffn.shared_experts.*", "*.mlp.shared_experts.*"},
                                     {"mtp.*", "model.mtp.*"},
                                     {"layers.3.ffn.experts", "model.layers.3.mlp.experts"},
                                     {"*.attn.indexer.*", "*.self_attn.compressor.indexer.*"},
                                     {"*", "*"}}) {
    EXPECT_EQ(module_in_dialect(official, Dialect::kHuggingFace), hf);
    EXPECT_EQ(module_in_dialect(hf, Dialect::kOfficial), official);
  }
}

}  // namespace
}  // namespace outrider
