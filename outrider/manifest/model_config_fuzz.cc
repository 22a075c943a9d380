#include <cstdint>
#include <string_view>

#include "outrider/manifest/manifest.h"
#include "outrider/manifest/model_config.h"
#include "outrider/testing/fuzz_target.h"

using outrider::testing::require;

// Any config.json either fails with an Error, has issues, or describes a model whose lists have an entry for each
// layer, and whose parameters can be listed as soon as their shapes are known.
FUZZ_TARGET(model_config) {
  const outrider::ConfigReading reading = outrider::read_config(input);
  const outrider::ModelConfig& config = reading.config;
  require(!reading.sound() || reading.shapes_known);
  if (!reading.shapes_known) return;
  require(config.architecture != nullptr);
  require(config.layers.size() == config.num_hidden_layers && config.hash_layers.size() == config.num_hidden_layers);
  for (const outrider::LayerAttention& layer : config.layers) {
    require(layer.compressed() == (layer.compress_ratio != 0));
  }
  constexpr std::uint64_t kAsMany = 4096;  // more take long, but show nothing new
  if (config.num_hidden_layers * (config.n_routed_experts + 1) > kAsMany) return;
  const outrider::Manifest manifest(config, outrider::DrafterKind::kMtp, 1);
  for (const outrider::Parameter& parameter : manifest.parameters()) {
    const auto id = manifest.find(parameter.block, parameter.slot, parameter.expert);
    require(id && &manifest[*id] == &parameter);
  }
}
