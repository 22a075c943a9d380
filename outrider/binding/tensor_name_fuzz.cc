#include <string>
#include <string_view>

#include "outrider/binding/tensor_name.h"
#include "outrider/manifest/manifest.h"
#include "outrider/testing/fuzz_target.h"
#include "outrider/testing/temp_dir.h"

using outrider::testing::require;

// Any name is translated, and what the parameter that it names is called in each dialect is translated to the same.
FUZZ_TARGET(tensor_name) {
  static const outrider::Manifest manifest(
      outrider::read_config(outrider::testing::read_file(OUTRIDER_SOURCE_DIR "/models/deepseek-v4-kjv/config.json"))
          .config,
      outrider::DrafterKind::kMtp, 1);
  const std::uint64_t layers = manifest.config().num_hidden_layers;
  const outrider::TensorName name = outrider::parse_tensor_name(input, layers, false);
  if (name.kind != outrider::TensorName::Kind::kParameter || name.part != outrider::ExpertPart::kNone) return;
  const auto id = manifest.find(name.block, name.slot, name.expert);
  if (!id) return;
  for (const bool hugging_face : {false, true}) {
    const std::string spelled = outrider::tensor_name(manifest[*id], name.component, hugging_face, false);
    const outrider::TensorName again = outrider::parse_tensor_name(spelled, layers, false);
    require(again.kind == name.kind && manifest.find(again.block, again.slot, again.expert) == id);
    require(again.component == name.component);
  }
}
